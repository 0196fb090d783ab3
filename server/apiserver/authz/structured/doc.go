// Package structured is the chain of authorizers that the operator asks for: an AuthorizationConfiguration
// (--authorization-config, upstream's form, CEL conditions and all), or the --authorization-mode flags. The group
// system:masters is allowed everything before any of them is asked.
//
// The file is looked at once a minute, as upstream does; a changed one takes effect at once if it is valid and still names
// every authorizer other than webhooks that it named at the start, and is otherwise told in the log and left alone.
// Webhooks are asked with bounded patience, and their answers are kept for as long as the configuration says.
//
// [Authorizer.Run] is its only goroutine. A webhook that cannot be reached is an opinion by its failurePolicy, with the
// error as the reason.
package structured
