// Package cel compiles and evaluates the expressions of admission: match conditions of webhooks, and what policies
// validate, mutate and say. It owns the variables that such expressions see (object, oldObject, request, params,
// namespaceObject, authorizer, variables) and what they may cost.
//
// An expression is compiled once by a [Compiler], which belongs to one policy and knows its variables, into a [Program];
// a Program and a finished Compiler are safe for concurrent use. One request is an [Evaluation], which belongs to one
// goroutine: it computes each variable at most once, and charges everything to its caller's [Budget]. An expression that
// costs too much ends with an error; it cannot run for ever, and ctx stops it.
//
// It knows nothing of skiff, of storage or of HTTP, and starts no goroutine. Making the environments costs some ten
// milliseconds, which the first expression pays.
package cel
