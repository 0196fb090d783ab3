package api

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

func flowSchema() *Kind {
	type schema = *flowcontrolv1.FlowSchema
	return &Kind{
		Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema", Plural: "flowschemas", Singular: "flowschema",
		Versions: []Version{typed[flowcontrolv1.FlowSchema, flowcontrolv1.FlowSchemaList]("flowcontrol.apiserver.k8s.io", "v1")},
		Prefix:   "/registry/flowschemas",
		Strategy: Strategy{
			Default:                  do(func(f schema) { blank(&f.Spec.MatchingPrecedence, 1000) }),
			PrepareCreate:            created(func(f schema) { f.Status = flowcontrolv1.FlowSchemaStatus{} }),
			PrepareUpdate:            updated(func(f, old schema) { f.Status = old.Status }, func(f schema) any { return f.Spec }),
			Validate:                 one(validateFlowSchema),
			ValidateUpdate:           pair(func(f, _ schema) fieldErrors { return validateFlowSchema(f) }),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{statusAlone(func(to, from schema) { to.Status = from.Status }, validateFlowSchemaStatus)},
		Columns: []Column{
			str("PriorityLevel", "level that its requests go to", func(f schema) string { return f.Spec.PriorityLevelConfiguration.Name }),
			tally("MatchingPrecedence", "order in which schemas are tried, lowest first", func(f schema) int32 { return f.Spec.MatchingPrecedence }),
			str("DistinguisherMethod", "what makes one flow of requests", func(f schema) string {
				if f.Spec.DistinguisherMethod == nil {
					return "<none>"
				}
				return string(f.Spec.DistinguisherMethod.Type)
			}),
			age(),
			str("MissingPL", "whether its level does not exist", func(f schema) string {
				for _, c := range f.Status.Conditions {
					if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
						return string(c.Status)
					}
				}
				return "?"
			}),
		},
	}
}
