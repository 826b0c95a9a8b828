package initramfs

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

// Contexts are the lines of a file_contexts file (selabel_file(5)), by which
// every object of the root file system gets its label.
type Contexts struct {
	specs []contextSpec
}

type contextSpec struct {
	exact   string // without special characters: the path itself
	pattern *regexp.Regexp
	typ     fs.FileMode // 0 with any set
	any     bool
	context string // empty for <<none>>
}

var contextTypes = map[string]fs.FileMode{
	"--": 0, "-d": fs.ModeDir, "-l": fs.ModeSymlink, "-c": fs.ModeDevice | fs.ModeCharDevice,
	"-b": fs.ModeDevice, "-p": fs.ModeNamedPipe, "-s": fs.ModeSocket,
}

// ParseContexts reads lines of the form REGEX [TYPE] CONTEXT.
func ParseContexts(text string) (*Contexts, error) {
	c := &Contexts{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		spec, err := parseContext(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("file_contexts line %d: %w", number, err)
		}
		c.specs = append(c.specs, spec)
	}
	return c, nil
}

func parseContext(fields []string) (contextSpec, error) {
	spec := contextSpec{any: true}
	if len(fields) == 3 {
		typ, ok := contextTypes[fields[1]]
		if !ok {
			return spec, fmt.Errorf("unknown file type %q", fields[1])
		}
		spec.typ, spec.any = typ, false
		fields = []string{fields[0], fields[2]}
	}
	if len(fields) != 2 {
		return spec, fmt.Errorf("%d fields, want 2 or 3", len(fields))
	}
	if plain, ok := literalPath(fields[0]); ok {
		spec.exact = plain
	} else {
		pattern, err := regexp.Compile("^(?:" + fields[0] + ")$")
		if err != nil {
			return spec, err
		}
		spec.pattern = pattern
	}
	if fields[1] != "<<none>>" {
		spec.context = fields[1]
	}
	return spec, nil
}

// literalPath gives the path that an expression without special characters
// means; \. is none.
func literalPath(expr string) (string, bool) {
	plain := strings.ReplaceAll(expr, `\.`, ".")
	unescaped := strings.ReplaceAll(expr, `\.`, "")
	if strings.ContainsAny(unescaped, `.^$?*+|[]({})\`) {
		return "", false
	}
	return plain, true
}

// Lookup gives the context of an object. An exact path beats any expression;
// of several of a kind the last wins. Nothing, or <<none>>, is an error: a node
// has no unlabelled file.
func (c *Contexts) Lookup(name string, mode fs.FileMode) (string, error) {
	var found *contextSpec
	for i := range c.specs {
		s := &c.specs[i]
		if !s.any && s.typ != mode.Type() {
			continue
		}
		exact := s.pattern == nil
		if exact && s.exact != name || !exact && !s.pattern.MatchString(name) {
			continue
		}
		if found == nil || exact || found.pattern != nil {
			found = s
		}
	}
	if found == nil || found.context == "" {
		return "", fmt.Errorf("label %s: the policy's file_contexts has no context for it", name)
	}
	return found.context, nil
}

// Label sets the labels of all entries.
func (c *Contexts) Label(entries []Entry) error {
	for i := range entries {
		label, err := c.Lookup(entries[i].Path, entries[i].Mode)
		if err != nil {
			return err
		}
		entries[i].Label = label
	}
	return nil
}
