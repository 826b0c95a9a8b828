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
	if err := haveApt(); err != nil {
		return nil, err
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

func haveApt() error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("find apt-get: %w: casemate fetches packages with the host's own apt; build on Debian 12 or 13", err)
	}
	return nil
}
