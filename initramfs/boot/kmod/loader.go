// Package kmod loads kernel modules at boot: by name or by modalias, with the
// dependencies and soft dependencies that depmod wrote down. It takes what is
// in the image and never unloads; options and blacklists of modprobe.d do not
// exist here: what shall not be loaded is not in the image.
package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Loader loads modules from one directory. Its methods may be called
// concurrently; a module is loaded once.
type Loader struct {
	dir     string
	load    func(path string) error
	aliases *aliases
	deps    map[string]dep      // by module name
	soft    map[string]soft     // by module name
	builtin map[string]struct{} // in the kernel itself

	mu      sync.Mutex
	started map[string]*result
}

type dep struct {
	path string   // relative to dir
	deps []string // all of them, in the order to load them
}

type soft struct{ pre, post []string }

type result struct {
	done chan struct{}
	err  error
}

// Open reads depmod's files in dir, /usr/lib/modules/RELEASE. modules.dep must
// be there, the others may be missing.
func Open(dir string) (*Loader, error) {
	l := &Loader{dir: dir, load: finit, started: map[string]*result{}}
	read := func(name string) (string, error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		return string(b), err
	}
	dep, err := read("modules.dep")
	if err != nil {
		return nil, err
	}
	l.deps = parseDeps(dep)
	var texts [3]string
	for i, name := range []string{"modules.alias", "modules.softdep", "modules.builtin"} {
		if texts[i], err = read(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	l.aliases = parseAliases(texts[0])
	l.soft = parseSoft(texts[1])
	l.builtin = map[string]struct{}{}
	for line := range strings.Lines(texts[2]) {
		l.builtin[moduleName(strings.TrimSpace(line))] = struct{}{}
	}
	return l, nil
}

// Match gives the modules for a device's modalias, which may be none.
func (l *Loader) Match(modalias string) []string { return l.aliases.lookup(normal(modalias)) }

// Load loads the module name, or what the alias name stands for, after all it
// depends on. An error names the module that failed.
func (l *Loader) Load(name string) error { return l.loadName(normal(name), nil) }

// loadName loads a module or an alias. chain has the modules whose soft
// dependencies led here: a soft dependency may point back.
func (l *Loader) loadName(name string, chain []string) error {
	if _, ok := l.builtin[name]; ok {
		return nil
	}
	if _, ok := l.deps[name]; ok {
		return l.loadModule(name, chain)
	}
	modules := l.aliases.lookup(name)
	if len(modules) == 0 {
		return fmt.Errorf("module %s: not in the image: %w", name, fs.ErrNotExist)
	}
	// An alias such as crc32c has one module per implementation; one is enough.
	var errs []error
	for _, m := range modules {
		if err := l.loadModule(m, chain); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(modules) {
		return errors.Join(errs...)
	}
	return nil
}

// loadModule loads one module with what it needs, and waits for whoever does
// so already. The module files of a dependency line are in the order in which
// depmod wants them, so hard dependencies need no recursion of their own.
func (l *Loader) loadModule(name string, chain []string) error {
	if contains(chain, name) {
		return nil
	}
	chain = append(chain[:len(chain):len(chain)], name)
	for _, d := range l.deps[name].deps {
		if err := l.loadOne(d, chain); err != nil {
			return fmt.Errorf("%w (needed by %s)", err, name)
		}
	}
	return l.loadOne(name, chain)
}

func (l *Loader) loadOne(name string, chain []string) error {
	d, ok := l.deps[name]
	if !ok {
		return fmt.Errorf("module %s: not in the image: %w", name, fs.ErrNotExist)
	}
	if r, running := l.claim(name, false); running {
		<-r.done
		return r.err
	}
	// Soft dependencies come before the claim on the module: two modules that
	// name each other must not wait for each other.
	l.loadSoft(l.soft[name].pre, name, chain)
	r, running := l.claim(name, true)
	if running {
		<-r.done
		return r.err
	}
	if err := l.load(filepath.Join(l.dir, d.path)); err != nil {
		r.err = fmt.Errorf("module %s: %w", name, err)
	}
	close(r.done)
	if r.err == nil {
		l.loadSoft(l.soft[name].post, name, chain)
	}
	return r.err
}

// claim gives the result of the module's load, and whether somebody else has
// started it. If nobody has and take is set, the caller has now.
func (l *Loader) claim(name string, take bool) (r *result, running bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, running = l.started[name]
	if !running && take {
		r = &result{done: make(chan struct{})}
		l.started[name] = r
	}
	return r, running
}

// loadSoft loads what would be good to have: a failure is none, as the module
// itself will say when it misses something.
func (l *Loader) loadSoft(names []string, of string, chain []string) {
	for _, s := range names {
		if !contains(chain, s) {
			_ = l.loadName(s, append(chain[:len(chain):len(chain)], of))
		}
	}
}

func finit(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "finit_module", Path: path, Err: err}
	}
	return nil
}
