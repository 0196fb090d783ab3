package legacytokencleaner

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The labels of package authn.
const (
	labelLastUsed     = "kubernetes.io/legacy-token-last-used"
	labelInvalidSince = "kubernetes.io/legacy-token-invalid-since"
)

// have is a token with what may still need it.
type have struct {
	secret *corev1.Secret
	// account is the token's, nil if it is gone: then another controller deletes the token.
	account *corev1.ServiceAccount
	pods    []*corev1.Pod
	// trackedSince is the day since which uses are noted, "" if they are not.
	trackedSince string
}

// plan is what to do about a token: nothing, mark it, or delete it.
type plan struct {
	invalidSince string
	remove       bool
	why          string
}

func (p plan) String() string {
	switch {
	case p.invalidSince != "":
		return "mark invalid since " + p.invalidSince + "\n"
	case p.remove:
		return "delete\n"
	}
	return fmt.Sprintf("keep: %s\n", p.why)
}

// decide compares days as text, which sort as they follow.
func decide(h have, period time.Duration, now time.Time) plan {
	before := now.UTC().Add(-period)
	day := before.Format(time.DateOnly)
	lastUsed, used := h.secret.Labels[labelLastUsed]
	switch {
	case !h.secret.CreationTimestamp.Time.Before(before):
		return plan{why: "it is new"}
	case h.secret.DeletionTimestamp != nil:
		return plan{why: "it is being deleted"}
	case used && !isDay(lastUsed):
		return plan{why: "the day of its last use cannot be read"}
	case used && lastUsed >= day:
		return plan{why: "it was used"}
	case !used && (!isDay(h.trackedSince) || h.trackedSince >= day):
		return plan{why: "uses are not tracked for long enough"}
	case h.account == nil || !slices.ContainsFunc(h.account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == h.secret.Name }):
		return plan{why: "somebody made it"}
	case mounted(h.pods, h.secret.Name):
		return plan{why: "a pod mounts it"}
	}
	since := h.secret.Labels[labelInvalidSince]
	switch {
	case !isDay(since):
		return plan{invalidSince: now.UTC().Format(time.DateOnly)}
	case since >= day:
		return plan{why: "it is not invalid for long enough"}
	}
	return plan{remove: true}
}

func isDay(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return err == nil
}

// mounted tells whether a pod has the Secret as a volume, by itself or in a projection.
func mounted(pods []*corev1.Pod, name string) bool {
	for _, pod := range pods {
		for _, v := range pod.Spec.Volumes {
			if v.Secret != nil && v.Secret.SecretName == name {
				return true
			}
			if v.Projected == nil {
				continue
			}
			for _, s := range v.Projected.Sources {
				if s.Secret != nil && s.Secret.Name == name {
					return true
				}
			}
		}
	}
	return false
}
