package debian

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// Tree is a set, unpacked. It is shared through the cache: never write below Root.
type Tree struct {
	// Name is the set's.
	Name string
	// Root is the directory with usr/ and so on.
	Root string
	// Key identifies the content: a digest of the packages' digests.
	Key string
	// Packages are sorted by name.
	Packages []Package

	owners map[string]owner
}

type owner struct{ pkg, file int }

// treeFormat is part of a tree's key: raise it when unpacking changes.
const treeFormat = "casemate tree 1"

const (
	libDir = "usr/lib/x86_64-linux-gnu"
	loader = "usr/lib64/ld-linux-x86-64.so.2"
)

// tree gives the set's tree, unpacked now if it is not in the cache.
func (f *Fetcher) tree(ctx context.Context, tmp, lists string, set Set) (*Tree, error) {
	packages, err := f.resolve(ctx, tmp, lists, set)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	fmt.Fprintln(h, treeFormat)
	for _, p := range packages {
		fmt.Fprintln(h, p.Name, p.SHA256)
	}
	key := hex.EncodeToString(h.Sum(nil))
	dir := filepath.Join(f.Cache, "trees", key[:16])
	if t, err := openTree(dir, key, set.Name); err == nil {
		return t, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := f.fetch(ctx, tmp, lists, set, packages); err != nil {
		return nil, err
	}
	part := filepath.Join(tmp, "tree")
	packages, err = f.unpackAll(ctx, filepath.Join(part, "root"), set, packages)
	if err != nil {
		return nil, err
	}
	if err := writeJSON(tmp, filepath.Join(part, "packages.json"), packages); err != nil {
		return nil, err
	}
	if err := os.Rename(part, dir); err != nil {
		return nil, err
	}
	return openTree(dir, key, set.Name)
}

// unpackAll unpacks with a worker per processor: it is decompression, mostly.
func (f *Fetcher) unpackAll(ctx context.Context, dir string, set Set, packages []Package) ([]Package, error) {
	root, err := makeRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var total, done int64
	for _, p := range packages {
		total += p.Size
	}
	step := fmt.Sprintf("unpack %d packages (%s)", len(packages), set.Name)
	f.Report(step, 0, total)
	unpacked := make([]Package, len(packages))
	next := make(chan int)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for i := range next {
				p, err := unpack(ctx, f.deb(packages[i]), packages[i], root)
				if err != nil {
					cancel(err)
					continue
				}
				unpacked[i] = p
				mu.Lock()
				done += p.Size
				f.Report(step, done, total)
				mu.Unlock()
			}
		})
	}
	for i := range packages {
		next <- i
	}
	close(next)
	workers.Wait()
	return unpacked, context.Cause(ctx)
}

func openTree(dir, key, name string) (*Tree, error) {
	data, err := os.ReadFile(filepath.Join(dir, "packages.json"))
	if err != nil {
		return nil, err
	}
	t := &Tree{Name: name, Root: filepath.Join(dir, "root"), Key: key, owners: map[string]owner{}}
	if err := json.Unmarshal(data, &t.Packages); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "packages.json"), err)
	}
	for i, p := range t.Packages {
		for j, file := range p.Files {
			t.owners[canonical(file.Path)] = owner{i, j}
		}
	}
	return t, nil
}

// canonical gives the path below usr/ of one that goes through the merged /usr.
func canonical(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for _, top := range usrMerge {
		if strings.HasPrefix(name, top+"/") {
			return "usr/" + name
		}
	}
	return name
}

// Owner gives the package and the file at a path of the tree, which may not be
// a directory. Symbolic links are not followed.
func (t *Tree) Owner(name string) (Package, File, bool) {
	o, ok := t.owners[canonical(name)]
	if !ok {
		return Package{}, File{}, false
	}
	p := t.Packages[o.pkg]
	return p, p.Files[o.file], true
}

// Path gives the host's path of a path in the tree.
func (t *Tree) Path(name string) string { return filepath.Join(t.Root, filepath.FromSlash(name)) }

// Command prepares to run a program of the tree, by its path in the tree or a
// name in usr/bin or usr/sbin. Dynamic programs run under the tree's own loader
// with the tree's own libraries, so the host's C library does not matter. A
// program that does not exist fails when it is started, as with exec.Command.
func (t *Tree) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	name := program
	if !strings.Contains(program, "/") {
		name = "usr/bin/" + program
		if _, _, ok := t.Owner(name); !ok {
			name = "usr/sbin/" + program
		}
	}
	file := t.Path(name)
	if !isDynamic(file) {
		return exec.CommandContext(ctx, file, args...)
	}
	// Multi-call programs such as kmod go by their name.
	under := append([]string{"--library-path", t.Path(libDir), "--argv0", path.Base(name), file}, args...)
	return exec.CommandContext(ctx, t.Path(loader), under...)
}

func isDynamic(file string) bool {
	f, err := elf.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}
