package initramfs

import (
	"debug/elf"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// libDirs are the dynamic loader's default directories on amd64 Debian.
var libDirs = []string{"usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib"}

// Object is an ELF file that the image needs: under Path, with the content of
// Source. Both are relative to the tree's root.
type Object struct {
	Path   string
	Source string
}

// ELFClosure gives the files, their dynamic loaders and all the libraries that
// they need, sorted by path. files are relative to root: programs, and the
// libraries and plug-ins that programs open by name, of which an ELF header
// says nothing. A library that is not there is an error.
//
// Libraries are looked up as ld.so does (ld.so(8)): DT_RPATH or DT_RUNPATH with
// $ORIGIN, then the default directories; not LD_LIBRARY_PATH or ld.so.cache.
func ELFClosure(root string, files []string) ([]Object, error) {
	c := &closure{root: root, found: map[string]Object{}, loaders: map[string]bool{}}
	for _, name := range files {
		if err := c.add(name); err != nil {
			return nil, err
		}
	}
	// Loaders first: libc itself needs one by its soname, and the kernel has
	// then already loaded it.
	for len(c.todo) > 0 {
		need := c.todo[0]
		c.todo = c.todo[1:]
		if c.loaders[need.name] {
			continue
		}
		name, err := c.find(need)
		if err != nil {
			return nil, err
		}
		if err := c.add(name); err != nil {
			return nil, err
		}
	}
	var objects []Object
	for _, o := range c.found {
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(a.Path, b.Path) })
	return objects, nil
}

type closure struct {
	root    string
	found   map[string]Object
	loaders map[string]bool // base names
	todo    []needed
}

// needed is a library that a file asks for.
type needed struct {
	name string
	by   string
	dirs []string
}

func (c *closure) add(name string) error {
	name = usrPath(name)
	if _, ok := c.found[name]; ok {
		return nil
	}
	source, err := Resolve(c.root, name)
	if err != nil {
		return err
	}
	c.found[name] = Object{Path: name, Source: source}
	f, err := elf.Open(filepath.Join(c.root, source))
	if err != nil {
		return fmt.Errorf("read the ELF file %s: %w", name, err)
	}
	defer f.Close()
	loader, err := interpreter(f)
	if err != nil {
		return fmt.Errorf("read the ELF file %s: %w", name, err)
	}
	if loader != "" {
		c.loaders[path.Base(loader)] = true
		if err := c.add(loader); err != nil {
			return fmt.Errorf("find the loader of %s: %w", name, err)
		}
	}
	if f.Section(".dynamic") == nil {
		return nil
	}
	names, err := f.DynString(elf.DT_NEEDED)
	if err != nil {
		return fmt.Errorf("read what %s needs: %w", name, err)
	}
	dirs, err := searchPath(f, source)
	if err != nil {
		return fmt.Errorf("read what %s needs: %w", name, err)
	}
	for _, n := range names {
		c.todo = append(c.todo, needed{name: n, by: name, dirs: dirs})
	}
	return nil
}

func (c *closure) find(n needed) (string, error) {
	for _, dir := range n.dirs {
		name := path.Join(dir, n.name)
		if _, err := Resolve(c.root, name); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("find the library %s that %s needs: %w in %s", n.name, n.by, os.ErrNotExist, strings.Join(n.dirs, ", "))
}

// interpreter gives the program's dynamic loader, relative to the root, or "".
func interpreter(f *elf.File) (string, error) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			if p.Filesz == 0 || p.Filesz > 4096 {
				return "", fmt.Errorf("its interpreter's name has %d bytes", p.Filesz)
			}
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err != nil {
				return "", err
			}
			return strings.TrimLeft(strings.TrimRight(string(name), "\x00"), "/"), nil
		}
	}
	return "", nil
}

// searchPath gives the directories for what the file at source needs.
func searchPath(f *elf.File, source string) ([]string, error) {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := f.DynString(tag)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			for _, dir := range strings.Split(v, ":") {
				origin := "/" + path.Dir(source)
				dir = strings.NewReplacer("${ORIGIN}", origin, "$ORIGIN", origin).Replace(dir)
				if path.IsAbs(dir) {
					dirs = append(dirs, usrPath(dir))
				}
			}
		}
	}
	return append(dirs, libDirs...), nil
}

// usrPath cleans a path and leads it below usr/ where the merged /usr would.
func usrPath(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	switch top, _, _ := strings.Cut(name, "/"); top {
	case "bin", "lib", "lib64", "sbin":
		return "usr/" + name
	}
	return name
}
