package debian

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Fetcher turns sets into trees. The zero value works: it uses the default
// cache, the suite trixie and the host's mirror and keys.
//
// The cache holds lists/ (package lists by suite and mirror), debs/ (downloads
// by SHA-256), trees/ (unpacked sets by the digest of their packages' digests)
// and tmp/. It is locked while it changes, so builds may run side by side.
type Fetcher struct {
	// Cache is a directory; empty means DefaultCache.
	Cache string
	// Suite is a Debian suite; empty means trixie.
	Suite string
	// Update refreshes the package lists even if they are younger than a day.
	Update bool
	// Report, if any, is told about progress.
	Report Report
	// Note, if any, gets sentences for the user: an unreachable mirror that was
	// worked around, a lock that is waited for.
	Note func(string)

	// Sources and Keyring replace the host's; for tests.
	Sources []Source
	Keyring string

	mu    sync.Mutex // one Ensure at a time
	fresh bool       // the lists were refreshed by this Fetcher
	stale error      // why they could not be
}

// Ensure gives the tree of a set; what is missing is fetched and unpacked.
func (f *Fetcher) Ensure(ctx context.Context, set Set) (*Tree, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.defaults(); err != nil {
		return nil, err
	}
	for _, dir := range []string{"lists", "debs", "trees"} {
		if err := os.MkdirAll(filepath.Join(f.Cache, dir), 0o755); err != nil {
			return nil, explainSpace(fmt.Errorf("make the cache: %w", err), f.Cache)
		}
	}
	release, err := lockFile(ctx, filepath.Join(f.Cache, "lock"), func() {
		f.Note("waiting for another build that uses the cache " + f.Cache)
	})
	if err != nil {
		return nil, err
	}
	defer release()
	tree, err := f.ensure(ctx, set)
	return tree, explainSpace(err, f.Cache)
}

func (f *Fetcher) defaults() (err error) {
	if f.Cache == "" {
		if f.Cache, err = DefaultCache(); err != nil {
			return err
		}
	}
	if f.Cache, err = filepath.Abs(f.Cache); err != nil { // apt runs elsewhere
		return err
	}
	if f.Suite == "" {
		f.Suite = "trixie"
	}
	if f.Report == nil {
		f.Report = func(string, int64, int64) {}
	}
	if f.Note == nil {
		f.Note = func(string) {}
	}
	if err := haveApt(); err != nil {
		return err // before anything else that such a host lacks
	}
	if f.Keyring == "" {
		if f.Keyring, err = hostKeyring(); err != nil {
			return err
		}
	}
	if f.Sources == nil {
		f.Sources, err = HostSources("/etc/apt", f.Suite)
	}
	return err
}

// ensure runs with the lock held.
func (f *Fetcher) ensure(ctx context.Context, set Set) (*Tree, error) {
	// Whatever is in tmp was left by a build that died.
	tmp := filepath.Join(f.Cache, "tmp")
	if err := os.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("clear the cache: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	lists, err := f.lists(ctx, tmp, set, f.Update)
	if err != nil {
		return nil, err
	}
	tree, err := f.tree(ctx, tmp, lists, set)
	if e := (*aptError)(nil); errors.As(err, &e) && e.Op == "download" && !f.fresh && f.stale == nil && !e.unreachable() {
		// The mirror has dropped what younger lists no longer name.
		f.Note("the mirror's packages have changed: refreshing the package lists")
		if lists, err = f.lists(ctx, tmp, set, true); err == nil {
			tree, err = f.tree(ctx, tmp, lists, set)
		}
	}
	return tree, err
}

// fetch downloads the packages that the cache does not have.
func (f *Fetcher) fetch(ctx context.Context, tmp, lists string, set Set, packages []Package) error {
	var missing []Package
	var size int64
	for _, p := range packages {
		if _, err := os.Stat(f.deb(p)); err != nil {
			missing = append(missing, p)
			size += p.Size
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := checkSpace(f.Cache, size); err != nil {
		return fmt.Errorf("fetch %d packages: %w", len(missing), err)
	}
	a, err := newApt(filepath.Join(tmp, "apt"), lists)
	if err != nil {
		return err
	}
	dir := filepath.Join(tmp, "debs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	step := fmt.Sprintf("fetch %d packages (%s)", len(missing), set.Name)
	f.Report(step, 0, size)
	err = a.download(ctx, dir, func(p int64) { f.Report(step, min(size*p/100, size-1), size) }, missing)
	// Keep what has arrived, also if some of it has not.
	kept := f.keep(dir, missing)
	var e *aptError
	switch {
	case errors.As(err, &e) && e.unreachable():
		return fmt.Errorf("fetch package %s: the mirror cannot be reached and the cache %s does not have it: %w", f.firstMissing(missing), f.Cache, err)
	case err != nil:
		return fmt.Errorf("fetch package %s: %w", f.firstMissing(missing), err)
	case kept != nil:
		return kept
	}
	f.Report(step, size, size)
	return nil
}

func (f *Fetcher) firstMissing(packages []Package) string {
	for _, p := range packages {
		if _, err := os.Stat(f.deb(p)); err != nil {
			return p.Name + " " + p.Version
		}
	}
	return "?"
}

// keep moves downloads into the cache, each after checking its digest.
func (f *Fetcher) keep(dir string, packages []Package) error {
	byDigest := map[string]Package{}
	for _, p := range packages {
		byDigest[p.SHA256] = p
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, name := range files {
		digest, err := FileSHA256(name)
		if err != nil {
			return err
		}
		if p, ok := byDigest[digest]; ok {
			if err := os.Rename(name, f.deb(p)); err != nil {
				return err
			}
			delete(byDigest, digest)
		}
	}
	for _, p := range byDigest {
		return fmt.Errorf("fetch package %s %s: apt fetched no file with the digest %s", p.Name, p.Version, p.SHA256)
	}
	return nil
}

func (f *Fetcher) deb(p Package) string {
	return filepath.Join(f.Cache, "debs", p.SHA256+".deb")
}

// writeJSON replaces a file atomically; tmp is on the same file system.
func writeJSON(tmp, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	part := filepath.Join(tmp, filepath.Base(name)+".part")
	if err := os.WriteFile(part, data, 0o644); err != nil {
		return err
	}
	return os.Rename(part, name)
}
