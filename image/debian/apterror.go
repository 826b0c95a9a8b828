package debian

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// aptError is a failure of apt-get with the complaints it printed (its errors
// and warnings).
type aptError struct {
	Op         string
	Complaints []string
	Err        error
}

func (e *aptError) Error() string {
	if len(e.Complaints) == 0 {
		return fmt.Sprintf("apt-get %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("apt-get %s: %s", e.Op, strings.Join(e.Complaints, "; "))
}

func (e *aptError) Unwrap() error {
	if e.mentions("No space left on device") {
		return syscall.ENOSPC
	}
	return e.Err
}

func (e *aptError) mentions(texts ...string) bool {
	for _, c := range e.Complaints {
		if containsAny(c, texts) {
			return true
		}
	}
	return false
}

// unreachable reports whether every complaint is about the network. It is the
// only failure in spite of which old package lists may be used, so whatever it
// does not know counts as something worse.
func (e *aptError) unreachable() bool {
	found := false
	for _, c := range e.Complaints {
		switch {
		case containsAny(c, refusals):
			return false
		case strings.HasPrefix(c, "Failed to fetch ") && containsAny(c, networkTroubles):
			found = true
		case strings.HasPrefix(c, "Some index files failed to download"):
		case strings.HasPrefix(c, "Unable to fetch some archives"):
		default:
			return false
		}
	}
	return found
}

var networkTroubles = []string{
	"Could not connect", "Unable to connect", "Could not resolve", "Temporary failure resolving",
	"Cannot initiate the connection", "Connection timed out", "Connection refused", "Connection failed",
	"connection timed out", "Network is unreachable", "No route to host", "Could not wait for server",
	"Undetermined Error", "Bad Gateway", "Service Unavailable", "Gateway Time",
}

var refusals = []string{
	"GPG error", "NO_PUBKEY", "BADSIG", "EXPKEYSIG", "REVKEYSIG", "EXPSIG", "ERRSIG", "Sub-process /usr/bin/sqv",
	"not signed", "isn't valid", "signature", "Hash Sum mismatch", "unexpected size", "is expired", "not valid yet", "verification failed",
	"does not have a Release file",
}

// failures are warnings that are none.
var failures = []string{"Failed to fetch", "Some index files failed", "error occurred during the signature", "GPG error"}

func containsAny(s string, texts []string) bool {
	for _, t := range texts {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

// complaints takes the errors and warnings and their continuation lines from apt's
// standard error.
func complaints(stderr string) []string {
	var found []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimRight(line, "\n")
		prefix, text, _ := strings.Cut(line, ": ")
		switch {
		case slices.Contains([]string{"E", "W", "Error", "Warning"}, prefix): // apt 2 and 3
			found = append(found, strings.Join(strings.Fields(text), " "))
		case strings.HasPrefix(line, " ") && len(found) > 0:
			found[len(found)-1] += " " + strings.TrimSpace(line)
		}
	}
	return found
}
