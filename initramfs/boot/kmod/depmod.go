package kmod

import (
	"path"
	"strings"
)

// parseDeps reads modules.dep: "PATH: PATH...", the dependencies complete and
// the one to load last first.
func parseDeps(s string) map[string]dep {
	deps := make(map[string]dep, strings.Count(s, "\n"))
	for line := range strings.Lines(s) {
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		d := dep{path: file}
		fields := strings.Fields(rest)
		for i := len(fields) - 1; i >= 0; i-- {
			d.deps = append(d.deps, moduleName(fields[i]))
		}
		deps[moduleName(file)] = d
	}
	return deps
}

// parseSoft reads modules.softdep: "softdep MODULE pre: NAME... post: NAME...".
func parseSoft(s string) map[string]soft {
	softs := map[string]soft{}
	for line := range strings.Lines(s) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "softdep" {
			continue
		}
		name := normal(fields[1])
		d := softs[name]
		var list *[]string
		for _, f := range fields[2:] {
			switch {
			case f == "pre:":
				list = &d.pre
			case f == "post:":
				list = &d.post
			case list != nil:
				*list = append(*list, normal(f))
			}
		}
		softs[name] = d
	}
	return softs
}

// moduleName gives the module's name for a file such as kernel/fs/nfs/nfs.ko.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return normal(name)
}

// normal gives a module name as the kernel spells it, with underscores.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }
