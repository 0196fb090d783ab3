package rootpath

// Users is a user namespace with 65536 ids.
type Users struct {
	// Base is the host's id of id 0 inside.
	Base uint32
	// Namespace is the path of the namespace.
	Namespace string
}
