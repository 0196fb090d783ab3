// Package e2e tests the built executable from outside: real processes, real containers, the real kubectl. It needs root, and skips
// without. The executable is $SKIFF, or bin/skiff of this checkout, which is built when it is older than the sources.
//
//	main_test.go       the cluster that most tests share, its images, and that nothing is left behind
//	harness_test.go    namespaces, kubectl, and waiting
//	everything else    one part of what users do, each test in a namespace of its own; tests that stop or kill things bring their own box
//
// Nodes live in network namespaces (see scripts/testbox); the machine's own network is never touched.
package e2e
