package openapi

import (
	"bufio"
	_ "embed"
	"reflect"
	"strings"
	"sync"
)

//go:embed descriptions.txt
var descriptionText string

// descriptions are of types without SwaggerDoc, by the end of the definition's name; "" is the type itself.
var descriptions = sync.OnceValue(func() map[string]map[string]string {
	all := map[string]map[string]string{}
	var current map[string]string
	lines := bufio.NewScanner(strings.NewReader(descriptionText))
	for lines.Scan() {
		line, field := strings.CutPrefix(lines.Text(), "\t")
		name, text, ok := strings.Cut(line, ": ")
		switch {
		case !ok || strings.HasPrefix(line, "#"):
		case field:
			current[name] = text
		default:
			current = map[string]string{"": text}
			all[name] = current
		}
	}
	return all
})

// described is what descriptions.txt says of a type.
func described(t reflect.Type) map[string]string {
	_, short, _ := strings.Cut(nameOf(t), ".pkg.apis.")
	return descriptions()[short]
}
