package apiserver

import "net/http"

// RetryAfterOf is the header that an error is answered with.
func RetryAfterOf(err error) string {
	h, status := http.Header{}, statusOf(err)
	setRetryAfter(h, &status)
	return h.Get("Retry-After")
}
