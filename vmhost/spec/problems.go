package spec

import (
	"fmt"
	"strings"
)

// Problem is one thing wrong with a document. Path names the field as the
// author sees it, such as disks[0].volume; it is empty for the whole document.
type Problem struct {
	Path    string
	Message string
}

func (p Problem) String() string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

// Problems is everything wrong with a document, in its own order: whoever
// writes a document wants to mend it in one go.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "; ")
}

// err gives nil for no problems: a nil Problems in an error would not be nil.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p *Problems) add(path, format string, args ...any) {
	*p = append(*p, Problem{path, fmt.Sprintf(format, args...)})
}

// oneOf adds a problem if value is none of allowed.
func (p *Problems) oneOf(path, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	p.add(path, "%q is not one of %s", value, strings.Join(allowed, ", "))
}
