package kms

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What a plugin may give back at most.
const (
	maxKeyID       = 1 << 10
	maxSource      = 1 << 10
	maxAnnotations = 32 << 10
)

// How a source becomes a key.
const (
	sourceKey  = 0 // it is the key
	sourceSeed = 1 // HKDF makes one from it and from the first 32 bytes of the data
)

// source is an encrypted key or seed, with what the plugin needs to decrypt it.
type source struct {
	keyID       string
	encrypted   []byte
	annotations map[string][]byte
	kind        uint64
}

func (s *source) validate() error {
	if err := validKeyID(s.keyID); err != nil {
		return err
	}
	if n := len(s.encrypted); n == 0 || n > maxSource {
		return fmt.Errorf("encrypted DEK source is %d bytes, not between 1 and %d", n, maxSource)
	}
	if s.kind > sourceSeed {
		return fmt.Errorf("unknown encryptedDEKSourceType: %d", s.kind)
	}
	size := 0
	for key, value := range s.annotations {
		if errs := validation.IsFullyQualifiedDomainName(field.NewPath("annotations"), key); len(errs) > 0 {
			return errs.ToAggregate()
		}
		size += len(key) + len(value)
	}
	if size > maxAnnotations {
		return fmt.Errorf("total size of annotations is %d, which exceeds the max size of %d", size, maxAnnotations)
	}
	return nil
}

func validKeyID(id string) error {
	if n := len(id); n == 0 || n > maxKeyID {
		return fmt.Errorf("keyID is %d bytes, not between 1 and %d", n, maxKeyID)
	}
	return nil
}

// Fields of the message EncryptedObject, which upstream defines.
const (
	fieldData = iota + 1
	fieldKeyID
	fieldSource
	fieldAnnotations
	fieldSourceType
)

// appendHead encodes all but the data; the data may stand behind it, since fields of protobuf may be in any order.
func (s *source) appendHead(dst []byte) []byte {
	dst = appendBytes(dst, fieldKeyID, []byte(s.keyID))
	dst = appendBytes(dst, fieldSource, s.encrypted)
	for _, key := range slices.Sorted(maps.Keys(s.annotations)) {
		dst = appendBytes(dst, fieldAnnotations, appendBytes(appendBytes(nil, 1, []byte(key)), 2, s.annotations[key]))
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, fieldSourceType, protowire.VarintType), s.kind)
}

func appendBytes(dst []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), value)
}

var errObject = errors.New("the stored data is no EncryptedObject")

// parse takes a stored value apart. data points into it.
func parse(stored []byte) (s source, data []byte, err error) {
	err = fields(stored, func(number protowire.Number, value []byte, varint uint64) error {
		switch number {
		case fieldData:
			data = value
		case fieldKeyID:
			s.keyID = string(value)
		case fieldSource:
			s.encrypted = slices.Clone(value)
		case fieldSourceType:
			s.kind = varint
		case fieldAnnotations:
			var key string
			var content []byte
			if err := fields(value, func(number protowire.Number, value []byte, _ uint64) error {
				switch number {
				case 1:
					key = string(value)
				case 2:
					content = slices.Clone(value)
				}
				return nil
			}); err != nil {
				return err
			}
			if s.annotations == nil {
				s.annotations = map[string][]byte{}
			}
			s.annotations[key] = content
		}
		return nil
	})
	if err == nil {
		err = s.validate()
	}
	if err == nil && len(data) == 0 {
		err = errors.New("encrypted data is empty")
	}
	return s, data, err
}

// fields visits the fields of a message of strings and numbers; those of other types are skipped.
func fields(message []byte, visit func(number protowire.Number, value []byte, varint uint64) error) error {
	for len(message) > 0 {
		number, wire, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errObject
		}
		message = message[n:]
		var value []byte
		var varint uint64
		switch wire {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			varint, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, wire, message)
		}
		if n < 0 {
			return errObject
		}
		message = message[n:]
		if err := visit(number, value, varint); err != nil {
			return err
		}
	}
	return nil
}
