package language

import (
	"strings"
	"testing"

	"k8s.io/kubectl/pkg/util/i18n"
)

func TestNeeded(t *testing.T) {
	for _, c := range []struct {
		args, env string
		want      bool
	}{
		{"skiff server", "LANG=de_DE.UTF-8", false},
		{"skiff", "LANG=de_DE.UTF-8", false},
		{"skiff kubectl get pods", "LANG=de_DE.UTF-8", true},
		{"/usr/bin/kubectl get pods", "LC_MESSAGES=zh_CN.UTF-8 LANG=C", true},
		{"kubectl", "LC_ALL=C LANG=ja_JP.UTF-8", false},
		{"kubectl", "LANG=en_US.UTF-8", false},
		{"kubectl", "", false},
	} {
		env := map[string]string{}
		for _, f := range strings.Fields(c.env) {
			k, v, _ := strings.Cut(f, "=")
			env[k] = v
		}
		if got := needed(strings.Fields(c.args), func(k string) string { return env[k] }); got != c.want {
			t.Errorf("%s with %s: %v", c.args, c.env, got)
		}
	}
}

// What kubectl's English table says is what stands in its code, so that to leave the table out changes no text.
func TestEnglishIsTheCode(t *testing.T) {
	for _, text := range []string{"Show or change kubeconfig settings", "Display one or many resources", "\n\t\t# Print flags inherited by all commands\n\t\tkubectl options"} {
		if got := i18n.T(text); got != text {
			t.Errorf("%q became %q without tables", text, got)
		}
	}
	if err := i18n.LoadTranslations("kubectl", func() string { return "default" }); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"Edit latest last-applied-configuration annotations of a resource/object", "Update the labels on a resource", "Display one or many resources"} {
		if got := i18n.T(text); got != text {
			t.Errorf("%q became %q in English", text, got)
		}
	}
}
