// Package aggregation lets other API servers serve group versions of this API, as APIService objects ask for
// (apiregistration.k8s.io): it passes requests on to their Services, checks whether they answer, shows what they serve in
// discovery and OpenAPI, and tells them by what certificates to know this server and its users.
//
// # Files
//
//	aggregator.go  Config, Run: one loop that follows the objects        table.go   which server has which group version
//	decide.go      what an APIService's condition should be (pure)       probe.go   asking the other server
//	proxy.go       passing requests on                                   local.go   the APIServices of our own versions
//	trust.go       ConfigMap kube-system/extension-apiserver-authentication
//	resources.go   what controllers have to look at
//
// # Rules
//
// Nothing that another server does slows our own API down: requests look at a table in memory only, discovery shows what
// was learnt before, every question has a deadline, every answer a limit, and a server that hangs can hold up only the
// requests for its own group versions, and only so many of them.
//
// # Goroutines
//
// Run is one, and starts one more for each question that is under way, at most probesAtOnce; it returns when all have
// ended. Requests run on their callers'.
package aggregation
