package debian

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// apt runs the host's apt-get with private directories. What the host's own
// configuration says about proxies, certificates and credentials stays valid;
// its hooks, pins and any weakening of signature checks do not.
type apt struct {
	dir   string // scratch: configuration, archives, package cache
	state string // the package lists
}

// conf is the configuration on top of the host's. #clear drops lists that the
// host may have filled, which an option alone could only add to.
const conf = `#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::ForceHash "SHA256";
Acquire::GzipIndexes "true";
Acquire::Languages { "none"; };
Acquire::PDiffs "false";
Acquire::Retries "2";
Debug::NoLocking "true";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "%[2]s";
Dir::State::lists "%[2]s/lists";
Dir::State::status "%[1]s/status";
Dir::State::extended_states "%[1]s/extended_states";
Dir::Etc::sourcelist "%[2]s/sources.list";
Dir::Cache "%[1]s";
Dir::Cache::archives "%[1]s/archives";
Dir::Cache::pkgcache "%[1]s/pkgcache.bin";
Dir::Cache::srcpkgcache "%[1]s/srcpkgcache.bin";
Dir::Log "%[1]s";
`

func newApt(dir, state string) (*apt, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, fmt.Errorf("find apt-get: %w: casemate fetches packages with the host's own apt; build on Debian 12 or 13", err)
	}
	if strings.ContainsAny(dir+state, "\"\n") {
		return nil, fmt.Errorf("configure apt: the cache's path %q has a quote or a newline", dir)
	}
	for _, d := range []string{filepath.Join(dir, "archives/partial"), filepath.Join(state, "lists/partial")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), nil, 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "apt.conf"), fmt.Appendf(nil, conf, dir, state), 0o644); err != nil {
		return nil, err
	}
	return &apt{dir: dir, state: state}, nil
}

// aptError is a failure of apt-get with the complaints it printed (its E: and
// W: lines, without the letter).
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
	"not signed", "isn't valid", "signature", "Hash Sum mismatch", "unexpected size", "is expired", "not valid yet",
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

// run runs apt-get; progress gets percents.
func (a *apt) run(ctx context.Context, dir string, progress func(percent int64), args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-y", "-c", filepath.Join(a.dir, "apt.conf"), "-o", "APT::Status-Fd=3"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer statusRead.Close()
	cmd.ExtraFiles = []*os.File{statusWrite}
	err = cmd.Start()
	statusWrite.Close()
	if err != nil {
		return nil, fmt.Errorf("start apt-get: %w", err)
	}
	// dlstatus:ITEM:PERCENT:TEXT
	for lines := bufio.NewScanner(statusRead); lines.Scan(); {
		if fields := strings.SplitN(lines.Text(), ":", 4); len(fields) == 4 && fields[0] == "dlstatus" && progress != nil {
			if percent, err := strconv.ParseFloat(fields[2], 64); err == nil {
				progress(int64(percent))
			}
		}
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	e := &aptError{Op: args[0], Complaints: complaints(stderr.String()), Err: err}
	if err == nil && e.mentions(failures...) {
		// Left to itself, update exits 0 after keeping an old list because the
		// new one's signature was bad.
		e.Err = errors.New("finished, with warnings that count as failures")
	}
	if e.Err != nil {
		return nil, e
	}
	return stdout.Bytes(), nil
}

// complaints takes the E: and W: lines and their continuations from apt's
// standard error.
func complaints(stderr string) []string {
	var found []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "E: "), strings.HasPrefix(line, "W: "):
			found = append(found, strings.Join(strings.Fields(line[3:]), " "))
		case strings.HasPrefix(line, " ") && len(found) > 0:
			found[len(found)-1] += " " + strings.TrimSpace(line)
		}
	}
	return found
}

// resolve gives the packages of the closure, without their files.
func (a *apt) resolve(ctx context.Context, set Set) ([]Package, error) {
	out, err := a.run(ctx, a.dir, nil, append([]string{"install", "-qq", "--print-uris"}, set.Packages...)...)
	if err != nil {
		return nil, fmt.Errorf("resolve the package set %q: %w", set.Name, err)
	}
	return parsePrintURIs(string(out))
}

// parsePrintURIs reads lines of the form 'URI' FILE SIZE SHA256:HEX.
func parsePrintURIs(text string) ([]Package, error) {
	var packages []Package
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "'") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, fmt.Errorf("read apt's answer: %q has %d fields, want 4", strings.TrimSpace(line), len(fields))
		}
		name, err := url.PathUnescape(strings.TrimSuffix(fields[1], ".deb"))
		if err != nil {
			return nil, fmt.Errorf("read apt's answer: %w", err)
		}
		parts := strings.Split(name, "_")
		size, sizeErr := strconv.ParseInt(fields[2], 10, 64)
		digest, isSHA256 := strings.CutPrefix(fields[3], "SHA256:")
		if len(parts) != 3 || sizeErr != nil || size < 0 || !isSHA256 || !isHexDigest(digest) {
			return nil, fmt.Errorf("read apt's answer: no package, size and SHA-256 in %q", strings.TrimSpace(line))
		}
		packages = append(packages, Package{Name: parts[0], Version: parts[1], Arch: parts[2], SHA256: digest, Size: size})
	}
	if len(packages) == 0 {
		return nil, errors.New("read apt's answer: it names no package")
	}
	return packages, nil
}

func isHexDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// download puts the packages' .deb files into dir. apt checks each against the
// signed list.
func (a *apt) download(ctx context.Context, dir string, progress func(int64), packages []Package) error {
	args := []string{"download"}
	for _, p := range packages {
		args = append(args, p.Name+"="+p.Version)
	}
	_, err := a.run(ctx, dir, progress, args...)
	return err
}
