// Package match says which requests a webhook or an admission policy is about, and shows it their objects.
//
// A [Subject] is one write as rules see it: resource, kind, namespace and name as the client named them. A [Criteria] is
// the rules, selectors and match policy of one webhook, policy or binding, compiled. Matching them gives a [Target]: the
// version in which the webhook or policy wants the objects, which is another than the client's when the match policy is
// Equivalent. [Subject.View] converts to it, and [Subject.Replace] takes a changed object back into the request.
//
// It reads namespaces from one snapshot, keeps compiled configuration in a [Cache] that grows no larger than what there
// is of it, opens nothing and starts no goroutine. Views share memory with the request's objects: they are for reading.
package match
