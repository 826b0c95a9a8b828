// Package cmdline reads the kernel's command line. It knows no parameter by
// name; stage0 and init ask for theirs.
package cmdline

import (
	"os"
	"strings"
)

// Params are the parameters of a kernel command line by name.
type Params map[string]string

// Read parses the command line in file path, usually /proc/cmdline.
func Read(path string) (Params, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(string(b)), nil
}

// Parse splits a command line as the kernel does: at spaces outside double
// quotes, quotes taken off. Of several parameters with one name the last holds,
// and nothing after "--" counts, as that is meant for init.
func Parse(s string) Params {
	p := Params{}
	for _, word := range split(s) {
		if word == "--" {
			break
		}
		name, value, _ := strings.Cut(word, "=")
		p[unquote(name)] = unquote(value)
	}
	return p
}

// Bool says whether name is set to 1 or stands alone.
func (p Params) Bool(name string) bool {
	v, ok := p[name]
	return ok && (v == "1" || v == "")
}

func split(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n' || r == 0)
	})
}

func unquote(s string) string { return strings.ReplaceAll(s, `"`, "") }
