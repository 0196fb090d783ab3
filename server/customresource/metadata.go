package customresource

import "time"

// plainMetadata says that metadata is just what the API writes: fields that are known, of the right types. Then it need
// not go through JSON to find out, which for a small object costs more than all the rest. Anything unusual is not plain.
func plainMetadata(fields map[string]any) bool {
	for name, value := range fields {
		ok := false
		switch name {
		case "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion":
			_, ok = value.(string)
		case "generation", "deletionGracePeriodSeconds":
			_, ok = value.(int64)
		case "creationTimestamp", "deletionTimestamp":
			ok = isTime(value)
		case "labels", "annotations":
			ok = textsOnly(value)
		case "finalizers":
			ok = everyOne(value, func(item any) bool { _, is := item.(string); return is })
		case "ownerReferences":
			ok = everyOne(value, isOwner)
		case "managedFields":
			ok = everyOne(value, isManagedFields)
		}
		if !ok {
			return false
		}
	}
	return true
}

func isTime(value any) bool {
	text, ok := value.(string)
	if !ok {
		return false
	}
	_, err := time.Parse(time.RFC3339, text)
	return err == nil
}

func textsOnly(value any) bool {
	texts, ok := value.(map[string]any)
	for _, text := range texts {
		if _, is := text.(string); !is {
			return false
		}
	}
	return ok
}

func everyOne(value any, is func(any) bool) bool {
	items, ok := value.([]any)
	for _, item := range items {
		if !is(item) {
			return false
		}
	}
	return ok
}

func isOwner(item any) bool {
	fields, ok := item.(map[string]any)
	for name, value := range fields {
		is := false
		switch name {
		case "apiVersion", "kind", "name", "uid":
			_, is = value.(string)
		case "controller", "blockOwnerDeletion":
			_, is = value.(bool)
		}
		if !is {
			return false
		}
	}
	return ok
}

func isManagedFields(item any) bool {
	fields, ok := item.(map[string]any)
	for name, value := range fields {
		is := false
		switch name {
		case "manager", "operation", "apiVersion", "fieldsType", "subresource":
			_, is = value.(string)
		case "time":
			is = isTime(value)
		case "fieldsV1":
			_, is = value.(map[string]any)
		}
		if !is {
			return false
		}
	}
	return ok
}
