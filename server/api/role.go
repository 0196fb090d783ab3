package api

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
)

// Names of RBAC objects may hold colons, as in system:node.
func roleName(name string, prefix bool) []string { return path.ValidatePathSegmentName(name, prefix) }

func role() *Kind {
	return &Kind{
		Group: "rbac.authorization.k8s.io", Kind: "Role", Plural: "roles", Singular: "role", Namespaced: true,
		Versions: []Version{typed[rbacv1.Role, rbacv1.RoleList]("rbac.authorization.k8s.io", "v1")},
		Prefix:   "/registry/roles",
		Strategy: Strategy{
			Validate:            one(validateRole),
			ValidateUpdate:      pair(func(r, _ *rbacv1.Role) fieldErrors { return validateRole(r) }),
			ValidateName:        roleName,
			AllowCreateOnUpdate: true, AllowUnconditionalUpdate: true,
		},
		Columns: []Column{createdAt()},
	}
}

func clusterRole() *Kind {
	return &Kind{
		Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Plural: "clusterroles", Singular: "clusterrole",
		Versions: []Version{typed[rbacv1.ClusterRole, rbacv1.ClusterRoleList]("rbac.authorization.k8s.io", "v1")},
		Prefix:   "/registry/clusterroles",
		Strategy: Strategy{
			Validate:            one(validateClusterRole),
			ValidateUpdate:      pair(func(r, _ *rbacv1.ClusterRole) fieldErrors { return validateClusterRole(r) }),
			ValidateName:        roleName,
			AllowCreateOnUpdate: true, AllowUnconditionalUpdate: true,
		},
		Columns: []Column{createdAt()},
	}
}
