package api

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

func roleBinding() *Kind {
	return &Kind{
		Group: "rbac.authorization.k8s.io", Kind: "RoleBinding", Plural: "rolebindings", Singular: "rolebinding", Namespaced: true,
		Versions: []Version{typed[rbacv1.RoleBinding, rbacv1.RoleBindingList]("rbac.authorization.k8s.io", "v1")},
		Prefix:   "/registry/rolebindings",
		Strategy: Strategy{
			Default:             do(func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) }),
			Validate:            one(validateRoleBinding),
			ValidateUpdate:      pair(validateRoleBindingUpdate),
			ValidateName:        roleName,
			AllowCreateOnUpdate: true, AllowUnconditionalUpdate: true,
		},
		Columns: bindingColumns(func(b *rbacv1.RoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) { return b.RoleRef, b.Subjects }),
	}
}

func clusterRoleBinding() *Kind {
	return &Kind{
		Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding", Plural: "clusterrolebindings", Singular: "clusterrolebinding",
		Versions: []Version{typed[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList]("rbac.authorization.k8s.io", "v1")},
		Prefix:   "/registry/clusterrolebindings",
		Strategy: Strategy{
			Default:             do(func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) }),
			Validate:            one(validateClusterRoleBinding),
			ValidateUpdate:      pair(validateClusterRoleBindingUpdate),
			ValidateName:        roleName,
			AllowCreateOnUpdate: true, AllowUnconditionalUpdate: true,
		},
		Columns: bindingColumns(func(b *rbacv1.ClusterRoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) { return b.RoleRef, b.Subjects }),
	}
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	blank(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if k := subjects[i].Kind; k == rbacv1.UserKind || k == rbacv1.GroupKind {
			blank(&subjects[i].APIGroup, rbacv1.GroupName)
		}
	}
}

func bindingColumns[T Object](parts func(T) (rbacv1.RoleRef, []rbacv1.Subject)) []Column {
	names := func(kind string) func(T) string {
		return func(b T) string {
			var out []string
			_, subjects := parts(b)
			for _, s := range subjects {
				if s.Kind != kind {
					continue
				}
				if kind == rbacv1.ServiceAccountKind && s.Namespace != "" {
					out = append(out, s.Namespace+"/"+s.Name)
				} else {
					out = append(out, s.Name)
				}
			}
			return strings.Join(out, ", ")
		}
	}
	return []Column{
		str("Role", "role that is granted", func(b T) string {
			ref, _ := parts(b)
			return ref.Kind + "/" + ref.Name
		}),
		age(),
		wide(str("Users", "users it is granted to", names(rbacv1.UserKind))),
		wide(str("Groups", "groups it is granted to", names(rbacv1.GroupKind))),
		wide(str("ServiceAccounts", "service accounts it is granted to", names(rbacv1.ServiceAccountKind))),
	}
}
