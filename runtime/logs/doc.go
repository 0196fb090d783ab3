// Package logs reads and rotates container logs for kubectl logs. The keeper writes them, in the CRI format, one entry a
// line:
//
//	2016-10-06T00:17:09.669794202Z stdout F a whole line, or the end of one
//	2016-10-06T00:17:09.669794202Z stderr P a part of a line that goes on in the next entry of the stream
//
// A log is the file at its path and the older ones that [Rotate] made of it: <path>.1 is older than <path>, .2 than .1.
// Reading begins with the oldest wanted; following goes from file to file by their inodes, so it loses nothing however
// often the log is rotated meanwhile (unless the file that it is to read next is deleted).
//
// Entries that cannot be understood are passed over. The package starts no goroutine that outlives the call. It polls
// nothing: following waits for inotify.
package logs
