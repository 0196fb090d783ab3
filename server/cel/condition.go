package cel

import (
	"context"
	"errors"

	"github.com/google/cel-go/common/types"
)

// Condition is one named match condition.
type Condition struct {
	Name string
	*Program
}

// Match evaluates match conditions. One that is false decides: no match, whatever the others say. Otherwise those that
// cannot be evaluated are the error.
func Match(ctx context.Context, e *Evaluation, conditions []Condition) (bool, error) {
	budget := MatchConditionsBudget()
	var failed []error
	for _, c := range conditions {
		out, err := e.Run(ctx, c.Program, budget)
		switch {
		case errors.Is(err, ErrBudget):
			return false, err
		case err != nil:
			failed = append(failed, err)
		case out == types.False:
			return false, nil
		}
	}
	return len(failed) == 0, join(failed)
}

// join reads as apimachinery's aggregates do: one error as it is, several in brackets.
func join(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	text := ""
	for i, err := range errs {
		if i > 0 {
			text += ", "
		}
		text += err.Error()
	}
	return errors.New("[" + text + "]")
}
