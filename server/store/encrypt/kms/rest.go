package kms

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rest has the plugin left alone for a while, if it did not answer at all. A plugin that answers with a refusal (it does not
// know the key) says nothing of other keys.
func (p *Provider) rest(err error) {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resting, p.failure = p.cfg.Now().Add(pause), err
}

// rests is why the plugin is not to be asked now; nil: it may be.
func (p *Provider) rests() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Now().Before(p.resting) {
		return p.failure
	}
	return nil
}
