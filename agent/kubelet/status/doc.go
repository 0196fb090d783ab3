// Package status computes what a pod's status says, from what is observed and what was decided. It is pure: the same input
// gives the same status, and [Equal] tells whether a write is needed.
package status
