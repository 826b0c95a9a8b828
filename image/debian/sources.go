package debian

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Source is one line of the private sources.list: where a suite is fetched from.
type Source struct {
	URI   string
	Suite string
}

// keyrings has the archive's keys on a Debian host; the first that exists is used.
var keyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.gpg",
	"/usr/share/keyrings/debian-archive-keyring.pgp",
}

// hostEntry is one enabled binary source of the host, of any vendor.
type hostEntry struct {
	uri, suite string
	components []string
	signedBy   string
}

// releases are the names under which hosts of this age know Debian.
var releases = []string{"bullseye", "bookworm", "trixie", "forky", "oldoldstable", "oldstable", "stable", "testing", "unstable", "sid"}

// HostSources reads the host's apt sources below etc (/etc/apt) and gives those
// of Debian's archive and security archive, with their suites replaced by
// suite, suite-updates and suite-security. Sources of other vendors are skipped.
func HostSources(etc, suite string) ([]Source, error) {
	entries, err := readHostEntries(etc)
	if err != nil {
		return nil, err
	}
	archive, security := best(entries, false), best(entries, true)
	if archive == "" {
		return nil, fmt.Errorf("find the Debian archive in %s: none of its %d sources is one: casemate takes the mirror from the host's own apt sources, add one there", etc, len(entries))
	}
	sources := []Source{{archive, suite}, {archive, suite + "-updates"}}
	if security != "" {
		sources = append(sources, Source{security, suite + "-security"})
	}
	return sources, nil
}

// best gives the URI of the likeliest entry, or "". Being wrong is safe: what
// Debian's keys have not signed is refused.
func best(entries []hostEntry, security bool) string {
	uri, top := "", 0
	for _, e := range entries {
		if score := e.score(security); score > top {
			uri, top = e.uri, score
		}
	}
	return uri
}

// score is 0 for an entry that cannot be Debian's (security) archive.
func (e hostEntry) score(security bool) int {
	release, isSecurity := strings.CutSuffix(e.suite, "-security")
	switch {
	case isSecurity != security,
		!slices.Contains(releases, release),
		!slices.Contains(e.components, "main"),
		strings.HasPrefix(e.uri, "cdrom:"):
		return 0
	}
	score := 1
	switch {
	case slices.Contains(keyrings, e.signedBy):
		score += 4
	case e.signedBy != "": // some other vendor's key
		return 0
	}
	if base := path.Base(strings.TrimRight(e.uri, "/")); base == "debian" || base == "debian-security" {
		score += 2
	}
	return score
}

// readHostEntries reads the files that apt itself would: sources.list and, of
// sources.list.d, *.list and *.sources.
func readHostEntries(etc string) ([]hostEntry, error) {
	files := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		// Glob fails on a bad pattern only.
		found, _ := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		files = append(files, found...)
	}
	var entries []hostEntry
	for _, name := range files {
		data, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the host's apt sources: %w", err)
		}
		parse := parseList
		if strings.HasSuffix(name, ".sources") {
			parse = parseDeb822
		}
		entries = append(entries, parse(string(data))...)
	}
	return entries, nil
}

// parseList reads the one-line format: deb [option=value ...] URI SUITE COMPONENT...
// Lines that it does not understand are skipped, as they are not Debian's.
func parseList(text string) []hostEntry {
	var entries []hostEntry
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		rest, ok := strings.CutPrefix(line, "deb ")
		if !ok {
			continue
		}
		var e hostEntry
		rest = strings.TrimSpace(rest)
		if options, after, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(rest, "[") {
			for _, option := range strings.Fields(options[1:]) {
				if key, value, _ := strings.Cut(option, "="); strings.EqualFold(key, "signed-by") {
					e.signedBy = value
				}
			}
			rest = after
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 {
			continue
		}
		e.uri, e.suite, e.components = fields[0], fields[1], fields[2:]
		entries = append(entries, e)
	}
	return entries
}

// parseDeb822 reads the stanza format of *.sources.
func parseDeb822(text string) []hostEntry {
	var entries []hostEntry
	fields, last := map[string]string{}, ""
	flush := func() {
		entries = append(entries, stanzaEntries(fields)...)
		fields, last = map[string]string{}, ""
	}
	for line := range strings.Lines(text) {
		switch {
		case strings.TrimSpace(line) == "":
			flush()
		case strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t': // continuation
			fields[last] += "\n" + strings.TrimSpace(line)
		default:
			key, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(key))
			fields[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return entries
}

func stanzaEntries(fields map[string]string) []hostEntry {
	disabled := slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(fields["enabled"]))
	if disabled || !slices.Contains(strings.Fields(fields["types"]), "deb") {
		return nil
	}
	var entries []hostEntry
	for _, uri := range strings.Fields(fields["uris"]) {
		for _, suite := range strings.Fields(fields["suites"]) {
			entries = append(entries, hostEntry{
				uri: uri, suite: suite,
				components: strings.Fields(fields["components"]),
				signedBy:   fields["signed-by"],
			})
		}
	}
	return entries
}

// hostKeyring finds the archive's keys.
func hostKeyring() (string, error) {
	for _, name := range keyrings {
		if _, err := os.Stat(name); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("find the Debian archive's keys: neither of %s exists: install the package debian-archive-keyring", strings.Join(keyrings, ", "))
}
