package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/cel"
)

const (
	maxMessage    = 5 << 10
	maxAnnotation = 10 << 10
)

// annotation is an audit annotation that was evaluated: a value, nothing, or an error that refuses the request.
type annotation struct {
	key, value string
	err        error
}

// evaluate says which validations refuse the invocation's request: by index, nil for those that do not.
func (p *validating) evaluate(in *invocation) ([]*denial, []annotation) {
	matched, err := p.matched(in)
	if err != nil {
		return []*denial{p.failed(in, err)}, nil
	}
	if !matched {
		return nil, nil
	}
	e, err := in.evaluation(true)
	if err != nil {
		return []*denial{p.failed(in, err)}, nil
	}
	budget := cel.PolicyBudget()
	found := make([]*denial, len(p.validations))
	for i := range p.validations {
		v := &p.validations[i]
		out, err := e.Run(in.ctx, v.program, budget)
		switch {
		case errors.Is(err, cel.ErrBudget):
			return []*denial{p.failed(in, err)}, nil
		case err != nil:
			found[i] = p.failed(in, err)
		case out != types.True:
			found[i] = p.refuse(in, v)
		}
	}
	if err := p.messages(in, e, budget, found); err != nil {
		return []*denial{p.failed(in, fmt.Errorf("failed messageExpression: %w", err))}, nil
	}
	annotations, err := p.annotate(in, e)
	if err != nil {
		return []*denial{p.failed(in, err)}, nil
	}
	return found, annotations
}

// failed refuses what could not be evaluated; nil when failures are ignored.
func (p *validating) failed(in *invocation, err error) *denial {
	if p.ignore {
		return nil
	}
	return &denial{policy: p.name, binding: in.binding.name, message: err.Error()}
}

func (p *validating) refuse(in *invocation, v *validation) *denial {
	d := &denial{policy: p.name, binding: in.binding.name, reason: metav1.StatusReasonInvalid, message: strings.TrimSpace(v.Message)}
	if v.Reason != nil {
		d.reason = *v.Reason
	}
	if d.message == "" {
		d.message = "failed expression: " + strings.TrimSpace(v.Expression)
	}
	return d
}

// messages lets the validations that refuse say why in their own words. One whose expression fails, or gives what is no
// message, keeps the other one.
func (p *validating) messages(in *invocation, e *cel.Evaluation, budget *cel.Budget, found []*denial) error {
	for i, d := range found {
		v := &p.validations[i]
		if d == nil || d.reason == "" || v.message == nil {
			continue
		}
		out, err := e.Run(in.ctx, v.message, budget)
		if errors.Is(err, cel.ErrBudget) {
			return err
		}
		if err != nil {
			continue
		}
		if text, ok := out.Value().(string); ok {
			if text = strings.TrimSpace(text); text != "" && len(text) <= maxMessage && !strings.Contains(text, "\n") {
				d.message = text
			}
		}
	}
	return nil
}

func (p *validating) annotate(in *invocation, e *cel.Evaluation) (out []annotation, err error) {
	budget := cel.PolicyBudget()
	for _, n := range p.notes {
		value, err := e.Run(in.ctx, n.value, budget)
		a := annotation{key: n.key}
		switch {
		case errors.Is(err, cel.ErrBudget):
			return nil, err
		case err != nil && p.ignore:
			continue
		case err != nil:
			a.err = err
		default:
			if text, ok := value.Value().(string); ok {
				text = strings.TrimSpace(text)
				a.value = text[:min(len(text), maxAnnotation)]
			}
		}
		out = append(out, a)
	}
	return out, nil
}
