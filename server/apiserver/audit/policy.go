package audit

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"
)

// policy chooses the level of a request. Immutable.
type policy struct{ auditv1.Policy }

// maxPolicy bounds the policy file.
const maxPolicy = 1 << 20

var (
	levels = []auditv1.Level{auditv1.LevelNone, auditv1.LevelMetadata, auditv1.LevelRequest, auditv1.LevelRequestResponse}
	stages = []auditv1.Stage{auditv1.StageRequestReceived, auditv1.StageResponseStarted, auditv1.StageResponseComplete, auditv1.StagePanic}
)

func readPolicy(file string) (*policy, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read audit policy: %w", err)
	}
	p, err := parsePolicy(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

func parsePolicy(data []byte) (*policy, error) {
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("audit policy: it has %d bytes, the limit is %d", len(data), maxPolicy)
	}
	p := &policy{}
	if err := yaml.UnmarshalStrict(data, &p.Policy); err != nil {
		return nil, fmt.Errorf("audit policy: %w", err)
	}
	if p.APIVersion != auditv1.SchemeGroupVersion.String() || p.Kind != "Policy" {
		return nil, fmt.Errorf("audit policy: expected apiVersion %s and kind Policy, got %q and %q", auditv1.SchemeGroupVersion, p.APIVersion, p.Kind)
	}
	if len(p.Rules) == 0 {
		return nil, errors.New("audit policy: loaded illegal policy with 0 rules")
	}
	if err := checkStages(p.OmitStages); err != nil {
		return nil, fmt.Errorf("audit policy: omitStages: %w", err)
	}
	for i := range p.Rules {
		if err := checkRule(&p.Rules[i]); err != nil {
			return nil, fmt.Errorf("audit policy: rules[%d]: %w", i, err)
		}
	}
	return p, nil
}

func checkStages(list []auditv1.Stage) error {
	for _, s := range list {
		if !slices.Contains(stages, s) {
			return fmt.Errorf("unknown stage %q", s)
		}
	}
	return nil
}

func checkRule(r *auditv1.PolicyRule) error {
	if !slices.Contains(levels, r.Level) {
		return fmt.Errorf("level: %q is none of %q", r.Level, levels)
	}
	if err := checkStages(r.OmitStages); err != nil {
		return fmt.Errorf("omitStages: %w", err)
	}
	if len(r.NonResourceURLs) > 0 && (len(r.Resources) > 0 || len(r.Namespaces) > 0) {
		return errors.New("nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
	}
	for _, url := range r.NonResourceURLs {
		if url == "*" {
			continue
		}
		if !strings.HasPrefix(url, "/") {
			return fmt.Errorf("nonResourceURLs: %q must begin with a '/' character", url)
		}
		if star := strings.IndexByte(url, '*'); star >= 0 && star < len(url)-1 {
			return fmt.Errorf("nonResourceURLs: %q: wildcards '*' must be the final character of the path", url)
		}
	}
	for _, g := range r.Resources {
		if strings.Contains(g.Group, "/") {
			return fmt.Errorf("resources: group %q must not have a version", g.Group)
		}
		if len(g.ResourceNames) > 0 && len(g.Resources) == 0 {
			return errors.New("resources: using resourceNames requires at least one resource")
		}
	}
	return nil
}

// verdict is what the policy says of one request.
type verdict struct {
	level             auditv1.Level
	omit              []auditv1.Stage
	omitManagedFields bool
}

// decide finds the first rule that matches; none is level None.
func (p *policy) decide(r *Request) verdict {
	for i := range p.Rules {
		rule := &p.Rules[i]
		if !matches(rule, r) {
			continue
		}
		v := verdict{level: rule.Level, omit: append(slices.Clip(slices.Clone(p.OmitStages)), rule.OmitStages...), omitManagedFields: p.OmitManagedFields}
		if rule.OmitManagedFields != nil {
			v.omitManagedFields = *rule.OmitManagedFields
		}
		return v
	}
	return verdict{level: auditv1.LevelNone}
}

func matches(rule *auditv1.PolicyRule, r *Request) bool {
	if len(rule.Users) > 0 && (r.User == nil || !slices.Contains(rule.Users, r.User.GetName())) {
		return false
	}
	if len(rule.UserGroups) > 0 && (r.User == nil || !slices.ContainsFunc(rule.UserGroups, func(g string) bool { return slices.Contains(r.User.GetGroups(), g) })) {
		return false
	}
	if len(rule.Verbs) > 0 && !slices.Contains(rule.Verbs, r.Verb) {
		return false
	}
	switch {
	case len(rule.Namespaces) > 0 || len(rule.Resources) > 0:
		return r.Resource != "" && matchesResource(rule, r)
	case len(rule.NonResourceURLs) > 0:
		return r.Resource == "" && slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool { return matchesURL(url, r.Path) })
	}
	return true
}

func matchesURL(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

func matchesResource(rule *auditv1.PolicyRule, r *Request) bool {
	if len(rule.Namespaces) > 0 && !slices.Contains(rule.Namespaces, r.Namespace) {
		return false
	}
	if len(rule.Resources) == 0 {
		return true
	}
	for _, g := range rule.Resources {
		if g.Group != r.Group {
			continue
		}
		if len(g.Resources) == 0 {
			return true
		}
		if len(g.ResourceNames) > 0 && !slices.Contains(g.ResourceNames, r.Name) {
			continue
		}
		if slices.ContainsFunc(g.Resources, func(name string) bool { return namesResource(name, r.Resource, r.Subresource) }) {
			return true
		}
	}
	return false
}

// namesResource: "pods", "pods/log", "pods/*", "*/log" and "*".
func namesResource(pattern, resource, sub string) bool {
	if pattern == "*" {
		return true
	}
	name, below, has := strings.Cut(pattern, "/")
	if !has {
		return sub == "" && name == resource
	}
	switch {
	case below == "*":
		return name == resource
	case name == "*":
		return sub != "" && below == sub
	}
	return name == resource && below == sub
}
