package settings

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	psload "k8s.io/pod-security-admission/admission/api/load"
	psvalidation "k8s.io/pod-security-admission/admission/api/validation"
	"sigs.k8s.io/yaml"
)

func podSecurity(s *Settings, p part) error {
	config, err := psload.LoadFromData(p.data)
	if err != nil {
		return err
	}
	if errs := psvalidation.ValidatePodSecurityConfiguration(config); len(errs) > 0 {
		return errs.ToAggregate()
	}
	s.PodSecurity = config
	return nil
}

// podNodeSelector is of a form without a kind, as upstream has it.
func podNodeSelector(s *Settings, p part) error {
	var config struct {
		Selectors map[string]string `json:"podNodeSelectorPluginConfig"`
	}
	if err := yaml.UnmarshalStrict(p.data, &config); err != nil {
		return err
	}
	for namespace, text := range config.Selectors {
		if _, err := labels.ConvertSelectorToLabelsMap(text); err != nil {
			return fmt.Errorf("podNodeSelectorPluginConfig[%s]: %w", namespace, err)
		}
	}
	s.PodNodeSelector = config.Selectors
	return nil
}

func podTolerations(s *Settings, p part) error {
	var config struct {
		metav1.TypeMeta `json:",inline"`
		PodTolerations  `json:",inline"`
	}
	if err := p.decode(&config, &config.TypeMeta, "podtolerationrestriction.admission.k8s.io/v1alpha1 Configuration"); err != nil {
		return err
	}
	for _, list := range [][]corev1.Toleration{config.Default, config.Whitelist} {
		for i := range list {
			if err := checkToleration(&list[i]); err != nil {
				return err
			}
		}
	}
	s.PodTolerations = config.PodTolerations
	return nil
}

func checkToleration(t *corev1.Toleration) error {
	switch t.Effect {
	case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		return fmt.Errorf("toleration %q: unknown effect %q", t.Key, t.Effect)
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		if t.Value != "" {
			return fmt.Errorf("toleration %q: value must be empty when operator is Exists", t.Key)
		}
	case "", corev1.TolerationOpEqual:
		if t.Key == "" {
			return errors.New("toleration: operator must be Exists when key is empty")
		}
	default:
		return fmt.Errorf("toleration %q: unknown operator %q", t.Key, t.Operator)
	}
	return nil
}

// LimitedResource is what nobody may use without a quota.
type LimitedResource struct {
	// APIGroup and Resource name the objects, in the plural.
	APIGroup string `json:"apiGroup,omitempty"`
	Resource string `json:"resource"`
	// MatchContains are parts of the names of what such objects use, as quotas name it ("pods", ".storageclass.storage.k8s.io/").
	MatchContains []string `json:"matchContains,omitempty"`
	// MatchScopes are scopes of objects that need a quota with a scope of the same name.
	MatchScopes []corev1.ScopedResourceSelectorRequirement `json:"matchScopes,omitempty"`
}

func resourceQuota(s *Settings, p part) error {
	var config struct {
		metav1.TypeMeta  `json:",inline"`
		LimitedResources []LimitedResource `json:"limitedResources,omitempty"`
	}
	err := p.decode(&config, &config.TypeMeta, "apiserver.config.k8s.io/v1 ResourceQuotaConfiguration",
		"resourcequota.admission.k8s.io/v1beta1 Configuration", "resourcequota.admission.k8s.io/v1alpha1 Configuration")
	if err != nil {
		return err
	}
	for i, l := range config.LimitedResources {
		if l.Resource == "" {
			return field.Required(field.NewPath("limitedResources").Index(i).Child("resource"), "")
		}
	}
	s.LimitedResources = config.LimitedResources
	return nil
}

func webhook(kubeconfig *string, p part) error {
	var config struct {
		metav1.TypeMeta    `json:",inline"`
		KubeConfigFile     string `json:"kubeConfigFile"`
		StaticManifestsDir string `json:"staticManifestsDir,omitempty"`
	}
	err := p.decode(&config, &config.TypeMeta, "apiserver.config.k8s.io/v1 WebhookAdmissionConfiguration", "apiserver.config.k8s.io/v1alpha1 WebhookAdmission")
	if err != nil {
		return err
	}
	if config.StaticManifestsDir != "" {
		return errors.New("staticManifestsDir: webhooks from files (ManifestBasedAdmissionControlConfig) are not there")
	}
	if config.KubeConfigFile != "" {
		*kubeconfig = p.absolute(config.KubeConfigFile)
	}
	return nil
}
