// Package webhook asks the webhooks that MutatingWebhookConfigurations and ValidatingWebhookConfigurations name.
//
// Mutating webhooks are asked one after the other, by the names of their configurations, and their JSON patches change
// the object between; when a later one, or a policy, changed it, those that want that are asked once more (registry's
// second round). Validating webhooks are asked side by side.
//
// It knows no HTTP: a [Post] sends for it. It holds no lock while a webhook is asked, waits no longer than the webhook's
// own timeout and the request's, reads no more than Post does, and starts no goroutine that outlives the request. A
// webhook that calls back into the server is a request like any other. Without configurations it does nothing at all.
package webhook
