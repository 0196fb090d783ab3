package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/authentication/user"
)

// claims of a verified token, each as it was sent.
type claims map[string]json.RawMessage

func (c claims) read(name string, into any) error {
	raw, ok := c[name]
	if !ok {
		return fmt.Errorf("claim not present")
	}
	return json.Unmarshal(raw, into)
}

// cel is the claims as the expressions see them.
func (c claims) cel() (traits.Mapper, error) {
	values := make(map[string]any, len(c))
	for name, raw := range c {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("parse claim %q: %w", name, err)
		}
		values[name] = numbers(v)
	}
	return types.NewStringInterfaceMap(types.DefaultTypeAdapter, values), nil
}

// numbers turns whole numbers into integers, which is what rules on times compare.
func numbers(v any) any {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	}
	return v
}

// user makes the user of the claims, by mappings and rules.
func (i *issuer) user(ctx context.Context, c claims) (user.Info, error) {
	values, err := c.cel()
	if err != nil {
		return nil, err
	}
	u := &user.DefaultInfo{}
	if u.Name, err = i.username(ctx, c, values); err != nil {
		return nil, err
	}
	if u.Groups, err = i.groups(ctx, c, values); err != nil {
		return nil, err
	}
	if u.UID, err = i.uid(ctx, c, values); err != nil {
		return nil, err
	}
	if u.Extra, err = i.extra(ctx, c, values); err != nil {
		return nil, err
	}
	if err := i.checkClaims(ctx, c, values); err != nil {
		return nil, err
	}
	return u, i.checkUser(ctx, u)
}

func (i *issuer) username(ctx context.Context, c claims, values traits.Mapper) (name string, err error) {
	m := &i.config.ClaimMappings.Username
	if i.rules.Username != nil {
		if name, err = evalString(ctx, i.rules.Username, values); err != nil {
			return "", fmt.Errorf("error evaluating username claim expression: %w", err)
		}
		if name == "" {
			return "", errors.New("empty username via CEL expression is not allowed")
		}
		return name, nil
	}
	if err := c.read(m.Claim, &name); err != nil {
		return "", fmt.Errorf("parse username claims %q: %w", m.Claim, err)
	}
	if _, said := c["email_verified"]; said && m.Claim == "email" {
		var verified bool
		if err := c.read("email_verified", &verified); err != nil {
			return "", fmt.Errorf("parse 'email_verified' claim: %w", err)
		}
		if !verified {
			return "", errors.New("email not verified")
		}
	}
	if m.Prefix != nil {
		name = *m.Prefix + name
	}
	if name == "" {
		return "", fmt.Errorf("username claim %q is empty", m.Claim)
	}
	return name, nil
}

func (i *issuer) groups(ctx context.Context, c claims, values traits.Mapper) (groups []string, err error) {
	m := &i.config.ClaimMappings.Groups
	if i.rules.Groups != nil {
		result, err := i.rules.Groups.EvalClaimMapping(ctx, values)
		if err == nil {
			groups, err = stringList(result.EvalResult)
		}
		if err != nil {
			return nil, fmt.Errorf("error evaluating group claim expression: %w", err)
		}
		return groups, nil
	}
	raw, ok := c[m.Claim]
	if m.Claim == "" || !ok {
		return nil, nil
	}
	// A single string, as in a claim "role", is one group.
	var one string
	if json.Unmarshal(raw, &one) == nil {
		groups = []string{one}
	} else if err := json.Unmarshal(raw, &groups); err != nil {
		return nil, fmt.Errorf("parse groups claim %q: %w", m.Claim, err)
	}
	if m.Prefix != nil {
		for n := range groups {
			groups[n] = *m.Prefix + groups[n]
		}
	}
	return groups, nil
}

func (i *issuer) uid(ctx context.Context, c claims, values traits.Mapper) (uid string, err error) {
	if i.rules.UID != nil {
		if uid, err = evalString(ctx, i.rules.UID, values); err != nil {
			return "", fmt.Errorf("error evaluating uid claim expression: %w", err)
		}
		return uid, nil
	}
	claim := i.config.ClaimMappings.UID.Claim
	if claim == "" {
		return "", nil
	}
	if err := c.read(claim, &uid); err != nil {
		return "", fmt.Errorf("parse uid claim %q: %w", claim, err)
	}
	return uid, nil
}

func (i *issuer) extra(ctx context.Context, c claims, values traits.Mapper) (map[string][]string, error) {
	extra := map[string][]string{}
	var id string
	if c.read("jti", &id) == nil && id != "" {
		extra[user.CredentialIDKey] = []string{"JTI=" + id}
	}
	if i.rules.Extra != nil {
		results, err := i.rules.Extra.EvalClaimMappings(ctx, values)
		if err != nil {
			return nil, fmt.Errorf("error evaluating extra claim expression: %w", err)
		}
		for _, r := range results {
			mapping, ok := r.ExpressionAccessor.(*authenticationcel.ExtraMappingExpression)
			if !ok {
				return nil, fmt.Errorf("error evaluating extra claim expression: unexpected %T", r.ExpressionAccessor)
			}
			list, err := stringList(r.EvalResult)
			if err != nil {
				return nil, fmt.Errorf("error evaluating extra claim expression: %w", err)
			}
			if len(list) > 0 {
				extra[mapping.Key] = list
			}
		}
	}
	if len(extra) == 0 {
		return nil, nil
	}
	return extra, nil
}

func (i *issuer) checkClaims(ctx context.Context, c claims, values traits.Mapper) error {
	for _, rule := range i.config.ClaimValidationRules {
		if rule.Claim == "" {
			continue
		}
		var value string
		if _, ok := c[rule.Claim]; !ok {
			return fmt.Errorf("required claim %s not present in ID token", rule.Claim)
		}
		if err := c.read(rule.Claim, &value); err != nil {
			return fmt.Errorf("parse claim %s: %w", rule.Claim, err)
		}
		if value != rule.RequiredValue {
			return fmt.Errorf("required claim %s value does not match. Got = %s, want = %s", rule.Claim, value, rule.RequiredValue)
		}
	}
	if i.rules.ClaimValidationRules == nil {
		return nil
	}
	results, err := i.rules.ClaimValidationRules.EvalClaimMappings(ctx, values)
	if err == nil {
		err = allTrue(results)
	}
	if err != nil {
		return fmt.Errorf("error evaluating claim validation expression: %w", err)
	}
	return nil
}

func (i *issuer) checkUser(ctx context.Context, u *user.DefaultInfo) error {
	if i.rules.UserValidationRules == nil {
		return nil
	}
	extra := map[string]any{}
	for key, list := range u.Extra {
		extra[key] = list
	}
	groups := u.Groups
	if groups == nil {
		groups = []string{}
	}
	value := types.NewStringInterfaceMap(types.DefaultTypeAdapter, map[string]any{"username": u.Name, "uid": u.UID, "groups": groups, "extra": extra})
	results, err := i.rules.UserValidationRules.EvalUser(ctx, value)
	if err == nil {
		err = allTrue(results)
	}
	if err != nil {
		return fmt.Errorf("error evaluating user info validation rule: %w", err)
	}
	return nil
}

// allTrue fails with the message of the first rule that does not hold.
func allTrue(results []authenticationcel.EvaluationResult) error {
	for _, r := range results {
		if r.EvalResult != nil && r.EvalResult.Type() == celgo.BoolType && r.EvalResult.Value() == true {
			continue
		}
		var message string
		switch rule := r.ExpressionAccessor.(type) {
		case *authenticationcel.ClaimValidationCondition:
			message = rule.Message
		case *authenticationcel.UserValidationCondition:
			message = rule.Message
		}
		if message == "" {
			message = fmt.Sprintf("expression '%s' did not evaluate to true", r.ExpressionAccessor.GetExpression())
		}
		return fmt.Errorf("validation expression '%s' failed: %s", r.ExpressionAccessor.GetExpression(), message)
	}
	return nil
}

func evalString(ctx context.Context, m authenticationcel.ClaimsMapper, values traits.Mapper) (string, error) {
	result, err := m.EvalClaimMapping(ctx, values)
	if err != nil {
		return "", err
	}
	s, ok := result.EvalResult.Value().(string)
	if !ok {
		return "", errors.New("expression must return a string")
	}
	return s, nil
}

// stringList reads a string or a list of strings; nothing, null and "" are no values.
func stringList(v ref.Val) ([]string, error) {
	switch v.Type() {
	case types.NullType:
		return nil, nil
	case types.StringType:
		if s := v.Value().(string); s != "" {
			return []string{s}, nil
		}
		return nil, nil
	case types.ListType:
		list, ok := v.(traits.Lister)
		if !ok {
			break
		}
		var out []string
		for it := list.Iterator(); it.HasNext() == types.True; {
			s, ok := it.Next().Value().(string)
			if !ok {
				return nil, errors.New("expression must return a string or a list of strings")
			}
			if s != "" {
				out = append(out, s)
			}
		}
		return out, nil
	}
	return nil, errors.New("expression must return a string or a list of strings")
}
