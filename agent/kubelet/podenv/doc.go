// Package podenv renders what a container finds around itself: environment variables, command line, hostname, /etc/hosts
// and /etc/resolv.conf. It starts no goroutine and writes no file; objects come through [Objects].
package podenv
