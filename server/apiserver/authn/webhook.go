package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
)

// WebhookConfig of a service that knows tokens.
type WebhookConfig struct {
	// File is a kubeconfig; "": there is none. Version of the TokenReviews is v1 or v1beta1.
	File, Version string
	// TTL is how long an answer is kept, whether it knew the token or not; errors are not kept.
	TTL time.Duration
}

// webhookAnswers is how many of them are kept.
const webhookAnswers = 4096

type webhookTokens struct {
	ask       authenticator.Token
	audiences []string
	ttl       time.Duration
	answers   *cache.LRUExpireCache
	// asking has one question about a token at a time, however many requests come with it.
	asking singleflight.Group
}

// NewWebhook makes a source of the tokens that a service knows. It asks nothing yet. audiences are the API server's own.
func NewWebhook(c WebhookConfig, audiences []string) (TokenSource, error) {
	client, err := webhookutil.LoadKubeconfig(c.File, nil)
	if err != nil {
		return nil, fmt.Errorf("token webhook %s: %w", c.File, err)
	}
	ask, err := webhook.New(client, c.Version, authenticator.Audiences(audiences), *webhook.DefaultRetryBackoff())
	if err != nil {
		return nil, fmt.Errorf("token webhook %s: %w", c.File, err)
	}
	return &webhookTokens{ask: ask, audiences: audiences, ttl: c.TTL, answers: cache.NewLRUExpireCache(webhookAnswers)}, nil
}

// webhookAnswer is what is kept; a nil user is a token that is not known.
type webhookAnswer struct {
	user      user.Info
	audiences []string
}

// Token asks the service, unless it has answered lately.
func (w *webhookTokens) Token(ctx context.Context, token string, audiences []string) (user.Info, []string, error) {
	if len(audiences) == 0 {
		audiences = w.audiences
	}
	sum := sha256.Sum256([]byte(fmt.Sprintf("%q %s", audiences, token))) // tokens are not kept in memory
	key := string(sum[:])
	if kept, ok := w.answers.Get(key); ok {
		answer := kept.(webhookAnswer)
		return answer.user, answer.audiences, nil
	}
	// Who asked first may go away while others wait for the same answer.
	result := w.asking.DoChan(key, func() (any, error) { return w.fetch(context.WithoutCancel(ctx), key, token, audiences) })
	select {
	case r := <-result:
		answer, _ := r.Val.(webhookAnswer)
		return answer.user, answer.audiences, r.Err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// webhookPatience bounds one question with all its retries.
const webhookPatience = 30 * time.Second

func (w *webhookTokens) fetch(ctx context.Context, key, token string, audiences []string) (any, error) {
	ctx, cancel := context.WithTimeout(authenticator.WithAudiences(ctx, audiences), webhookPatience)
	defer cancel()
	response, ok, err := w.ask.AuthenticateToken(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("token webhook: %w", err)
	}
	var answer webhookAnswer
	if ok {
		if response == nil || response.User == nil || response.User.GetName() == "" {
			return nil, errors.New("token webhook: the answer names no user")
		}
		u := response.User
		answer = webhookAnswer{&user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: authenticated(u.GetGroups()), Extra: u.GetExtra()}, response.Audiences}
	}
	if w.ttl > 0 {
		w.answers.Add(key, answer, w.ttl)
	}
	return answer, nil
}
