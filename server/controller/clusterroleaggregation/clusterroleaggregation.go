// Package clusterroleaggregation keeps the rules of ClusterRoles that have an aggregationRule: they are the rules of all
// ClusterRoles that its selectors match, without repetition. What authorizes requests looks through aggregation itself;
// this is for those who read the role.
package clusterroleaggregation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// New returns the controller; its keys are the names of ClusterRoles with an aggregationRule.
func New() controller.Controller {
	return controller.Controller{
		Name:   "clusterrole-aggregation-controller",
		Inputs: []controller.Input{{Kind: &rbacv1.ClusterRole{}, Keys: keys}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			return controller.Result{}, reconcile(ctx, c, key)
		},
	}
}

// keys: a changed role concerns every role that aggregates, because it may have been selected until now.
func keys(s client.Snapshot, _ *store.Event) (names []string) {
	for r := range client.List[*rbacv1.ClusterRole](s, "") {
		if r.AggregationRule != nil {
			names = append(names, r.Name)
		}
	}
	return names
}

func reconcile(ctx context.Context, c *client.Client, name string) error {
	snap := c.Snapshot()
	role, ok := client.Get[*rbacv1.ClusterRole](snap, "", name)
	if !ok || role.AggregationRule == nil || role.DeletionTimestamp != nil {
		return nil
	}
	rules, err := decide(role, slices.Collect(client.List[*rbacv1.ClusterRole](snap, "")))
	if err != nil || apiequality.Semantic.DeepEqual(rules, role.Rules) {
		return err
	}
	_, err = client.Change(ctx, c, role, "", func(r *rbacv1.ClusterRole) { r.Rules = rules })
	return err
}

// decide collects the rules, in the order of the selectors and then of the roles' names.
func decide(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) (rules []rbacv1.PolicyRule, err error) {
	slices.SortFunc(all, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("selector %d of cluster role %q: %w", i, role.Name, err)
		}
		for _, from := range all {
			if from.Name == role.Name || !selector.Matches(labels.Set(from.Labels)) {
				continue
			}
			for _, r := range from.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(have, r) }) {
					rules = append(rules, r)
				}
			}
		}
	}
	return rules, nil
}
