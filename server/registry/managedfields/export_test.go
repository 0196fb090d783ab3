package managedfields

import "codeberg.org/skiff/skiff/server/api"

func CreatedByApimachinery(m *Manager, obj api.Object, manager string) error {
	return m.fullCreate(obj, manager)
}

func UpdatedByApimachinery(m *Manager, old, obj api.Object, manager string) error {
	return m.fullUpdate(old, obj, manager)
}
