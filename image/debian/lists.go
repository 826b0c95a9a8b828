package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// listsAge is how old package lists may become before they are refreshed.
const listsAge = 24 * time.Hour

func (f *Fetcher) sourcesList() string {
	var b strings.Builder
	for _, s := range f.Sources {
		fmt.Fprintf(&b, "deb [arch=amd64 target=Packages signed-by=%s] %s %s main\n", f.Keyring, s.URI, s.Suite)
	}
	return b.String()
}

// lists gives the directory of the package lists. They are fetched into an
// empty directory, so that nothing unverified or old can get among them, and
// take the old ones' place only when all of them are there and verified.
func (f *Fetcher) lists(ctx context.Context, tmp string, set Set, update bool) (string, error) {
	sources := f.sourcesList()
	id := sha256.Sum256([]byte(sources))
	dir := filepath.Join(f.Cache, "lists", f.Suite+"-"+hex.EncodeToString(id[:6]))
	info, err := os.Stat(filepath.Join(dir, "sources.list"))
	have := err == nil
	if f.fresh || f.stale != nil || have && !update && time.Since(info.ModTime()) < listsAge {
		return dir, nil
	}

	state := filepath.Join(tmp, "state")
	a, err := newApt(filepath.Join(tmp, "apt"), state)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(state, "sources.list"), []byte(sources), 0o644); err != nil {
		return "", err
	}
	const step = "package lists"
	f.Report(step, 0, 100)
	_, err = a.run(ctx, tmp, func(p int64) { f.Report(step, min(p, 99), 100) }, "update")
	var e *aptError
	switch {
	case errors.As(err, &e) && e.unreachable() && have:
		f.stale = err
		f.Note(fmt.Sprintf("the mirror cannot be reached, going on with the package lists of %s (%v)", info.ModTime().Format(time.DateOnly), err))
		return dir, nil
	case errors.As(err, &e) && e.unreachable():
		return "", fmt.Errorf("fetch package %s and %d more: the mirror cannot be reached and the cache %s is empty: %w", set.Packages[0], len(set.Packages)-1, f.Cache, err)
	case errors.As(err, &e) && e.mentions(refusals...):
		return "", fmt.Errorf("refuse the package lists, nothing of them is used: a signature or digest does not verify against %s: %w", f.Keyring, err)
	case err != nil:
		return "", fmt.Errorf("fetch the package lists: %w", err)
	}
	verified, _ := filepath.Glob(filepath.Join(state, "lists", "*_InRelease"))
	if len(verified) != len(f.Sources) {
		return "", fmt.Errorf("refuse the package lists: apt kept %d signed releases of %d", len(verified), len(f.Sources))
	}
	f.Report(step, 100, 100)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Rename(state, dir); err != nil {
		return "", err
	}
	f.fresh = true
	return dir, nil
}

// resolve gives the closure of a set. The answer is kept beside the lists it
// was made from, and lives as long as they do.
func (f *Fetcher) resolve(ctx context.Context, tmp, lists string, set Set) ([]Package, error) {
	names := append([]string(nil), set.Packages...)
	sort.Strings(names)
	id := sha256.Sum256([]byte(strings.Join(names, "\n")))
	answer := filepath.Join(lists, "resolved-"+hex.EncodeToString(id[:6])+".json")
	var packages []Package
	if data, err := os.ReadFile(answer); err == nil && json.Unmarshal(data, &packages) == nil {
		return packages, nil
	}
	a, err := newApt(filepath.Join(tmp, "apt"), lists)
	if err != nil {
		return nil, err
	}
	packages, err = a.resolve(ctx, set)
	if err != nil {
		return nil, err
	}
	sort.Slice(packages, func(i, j int) bool { return packages[i].Name < packages[j].Name })
	return packages, writeJSON(tmp, answer, packages)
}
