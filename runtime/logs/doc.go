// Package logs reads and rotates container logs in the CRI format, for kubectl logs.
package logs
