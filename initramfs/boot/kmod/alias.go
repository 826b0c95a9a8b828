package kmod

import "strings"

// aliases finds the modules for a device. modules.alias has tens of thousands
// of glob patterns for all of Debian's drivers; trying each for each device is
// slow where boot is measured. So patterns are kept by their literal prefix (up
// to the first wildcard): those that can match a device are the ones whose
// prefix the device's modalias begins with, and prefixes have few lengths.
type aliases struct {
	first   map[string]int32 // literal prefix -> index in entries
	entries []aliasEntry
	lengths []int // of the prefixes, each once
}

type aliasEntry struct {
	pattern, module string
	next            int32 // with the same prefix; -1 ends
}

// parseAliases reads modules.alias: "alias PATTERN MODULE" per line.
func parseAliases(s string) *aliases {
	a := &aliases{first: make(map[string]int32, len(s)/64)}
	var seen [maxPrefix + 1]bool
	for line := range strings.Lines(s) {
		rest, ok := strings.CutPrefix(line, "alias ")
		if !ok {
			continue
		}
		pattern, module, ok := strings.Cut(strings.TrimSpace(rest), " ")
		if !ok {
			continue
		}
		pattern = normalPattern(pattern)
		prefix := literal(pattern)
		if !seen[len(prefix)] {
			seen[len(prefix)] = true
			a.lengths = append(a.lengths, len(prefix))
		}
		next := int32(-1)
		if i, ok := a.first[prefix]; ok {
			next = i
		}
		a.first[prefix] = int32(len(a.entries))
		a.entries = append(a.entries, aliasEntry{pattern, module, next})
	}
	return a
}

// lookup gives the modules whose alias matches, each once, in no order. The
// dashes of modalias are underscores.
func (a *aliases) lookup(modalias string) []string {
	var found []string
	for _, n := range a.lengths {
		if n > len(modalias) {
			continue
		}
		i, ok := a.first[modalias[:n]]
		for ; ok && i >= 0; i = a.entries[i].next {
			if e := a.entries[i]; !contains(found, e.module) && match(e.pattern[n:], modalias[n:]) {
				found = append(found, e.module)
			}
		}
	}
	return found
}

// normalPattern turns dashes into underscores, as kmod does before it compares,
// but not where they make a range.
func normalPattern(s string) string {
	if !strings.Contains(s, "-") {
		return s
	}
	b := []byte(s)
	set := false
	for i, c := range b {
		switch {
		case c == '[':
			set = true
		case c == ']':
			set = false
		case c == '-' && !set:
			b[i] = '_'
		}
	}
	return string(b)
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// Prefixes are cut here: longer ones would not tell more devices apart.
const maxPrefix = 64

// literal gives pattern up to its first wildcard.
func literal(pattern string) string {
	if i := strings.IndexAny(pattern, "*?[\\"); i >= 0 {
		pattern = pattern[:i]
	}
	return pattern[:min(len(pattern), maxPrefix)]
}

// match is fnmatch(3) without flags, as kmod uses it: * ? [a-z] [!a-z] and \.
// Unlike path.Match, '/' is a character as any other. Its time is bounded by
// len(pattern)*len(s): only the last * is ever tried again.
func match(pattern, s string) bool {
	p, i, starP, starI := 0, 0, -1, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			starP, starI = p, i
			p++
			continue
		}
		if n, ok := matchByte(pattern[p:], s[i]); ok {
			p, i = p+n, i+1
			continue
		}
		if starP < 0 {
			return false
		}
		starI++
		p, i = starP+1, starI
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchByte matches c against the first element of pattern, which is not *, and
// gives the element's length.
func matchByte(pattern string, c byte) (int, bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	case '[':
		if n, ok := matchSet(pattern, c); n > 0 {
			return n, ok
		}
	}
	return 1, pattern[0] == c
}

// matchSet matches c against the set that pattern begins with. A '[' without
// ']' is no set: length 0.
func matchSet(pattern string, c byte) (int, bool) {
	i, negate, found := 1, false, false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		negate = true
		i++
	}
	for start := i; i < len(pattern); i++ {
		lo := pattern[i]
		if lo == ']' && i > start {
			return i + 1, found != negate
		}
		hi := lo
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			hi = pattern[i+2]
			i += 2
		}
		if lo <= c && c <= hi {
			found = true
		}
	}
	return 0, false
}
