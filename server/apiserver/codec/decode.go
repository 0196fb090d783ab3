package codec

import (
	"bytes"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Decode reads data into the object and returns what the body says it is (zero fields where it says nothing), and,
// when strict asks for it, what a lenient reader passes over: unknown and duplicate fields. The object's TypeMeta is left
// as the body has it.
func Decode(f Format, data []byte, into runtime.Object, strict bool) (gvk schema.GroupVersionKind, warnings []error, err error) {
	switch f {
	case Protobuf:
		gvk, err = decodeEnvelope(data, into)
		return gvk, nil, err
	case YAML:
		if data, warnings, err = fromYAML(data, strict); err != nil {
			return gvk, nil, err
		}
	}
	if u, ok := into.(runtime.Unstructured); ok {
		more, err := decodeUnstructured(data, u, strict)
		return into.GetObjectKind().GroupVersionKind(), append(warnings, more...), err
	}
	var more []error
	if strict {
		more, err = kjson.UnmarshalStrict(data, into)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(data, into)
	}
	return into.GetObjectKind().GroupVersionKind(), append(warnings, more...), err
}

func decodeUnstructured(data []byte, into runtime.Unstructured, strict bool) (warnings []error, err error) {
	content := map[string]any{}
	if strict {
		warnings, err = kjson.UnmarshalStrict(data, &content)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(data, &content)
	}
	if err == nil {
		into.SetUnstructuredContent(content)
	}
	return warnings, err
}

// fromYAML makes JSON of YAML (of which JSON is a part). Duplicate keys are what strict adds.
func fromYAML(data []byte, strict bool) (out []byte, warnings []error, err error) {
	if !strict {
		out, err = yaml.YAMLToJSON(data)
		return out, nil, err
	}
	if out, err = yaml.YAMLToJSONStrict(data); err == nil {
		return out, nil, nil
	}
	lenient, err2 := yaml.YAMLToJSON(data)
	if err2 != nil {
		return nil, nil, err2
	}
	return lenient, []error{err}, nil
}

var errMagic = errors.New("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")

func decodeEnvelope(data []byte, into runtime.Object) (schema.GroupVersionKind, error) {
	var none schema.GroupVersionKind
	if !bytes.HasPrefix(data, []byte(magic)) {
		return none, errMagic
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(data[len(magic):]); err != nil {
		return none, err
	}
	gv, err := schema.ParseGroupVersion(envelope.APIVersion)
	if err != nil {
		return none, err
	}
	gvk := gv.WithKind(envelope.Kind)
	m, ok := into.(interface{ Unmarshal([]byte) error })
	if !ok {
		return gvk, fmt.Errorf("%T has no protobuf form", into)
	}
	return gvk, m.Unmarshal(envelope.Raw)
}
