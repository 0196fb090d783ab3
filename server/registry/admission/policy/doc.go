// Package policy asks the ValidatingAdmissionPolicies and MutatingAdmissionPolicies whose bindings are about a request.
//
// A policy is compiled when it is first needed and kept until it changes. What is evaluated is an invocation: a policy,
// one of its bindings and one of the parameters that the binding names. Parameters and namespaces come from the same
// snapshot as the policies. Each invocation has a budget, so that no policy keeps a request for long.
//
// Mutations are made one after the other, each on what the one before made; a policy whose reinvocationPolicy asks for it
// runs again in the second round when others changed the object after it (see registry). It starts no goroutine, opens
// nothing and writes nothing. Without policies or without bindings it does nothing at all.
package policy
