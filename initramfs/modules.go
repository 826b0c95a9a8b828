package initramfs

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Modules is what depmod(8) found out about all modules of a kernel.
type Modules struct {
	// files has, by normal name, the path below /lib/modules/KVER, with .ko.xz.
	files map[string]string
	// deps has, by normal name, all modules it needs, in modules.dep's order:
	// the one to load last comes first.
	deps map[string][]string
	// soft has the soft dependencies of a module, names or aliases.
	soft map[string][]string
	// aliases has the lines of modules.alias, providers the modules by alias.
	aliases   []alias
	providers map[string][]string
	softLines []string
	builtin   map[string]bool
	rawBuilt  []byte
}

type alias struct{ line, module string }

// ReadModules reads depmod's modules.dep, modules.alias and modules.softdep
// from dir and the kernel package's modules.builtin from kernelDir.
func ReadModules(dir, kernelDir string) (*Modules, error) {
	m := &Modules{
		files: map[string]string{}, deps: map[string][]string{}, soft: map[string][]string{},
		providers: map[string][]string{}, builtin: map[string]bool{},
	}
	for _, part := range []struct {
		file string
		line func(string)
	}{
		{filepath.Join(dir, "modules.dep"), m.addDep},
		{filepath.Join(dir, "modules.alias"), m.addAlias},
		{filepath.Join(dir, "modules.softdep"), m.addSoft},
		{filepath.Join(kernelDir, "modules.builtin"), m.addBuiltin},
	} {
		data, err := os.ReadFile(part.file)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's modules: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			part.line(strings.TrimSpace(line))
		}
	}
	return m, nil
}

func (m *Modules) addDep(line string) {
	file, deps, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	name := moduleName(file)
	m.files[name] = file
	for _, d := range strings.Fields(deps) {
		m.deps[name] = append(m.deps[name], moduleName(d))
	}
}

func (m *Modules) addAlias(line string) {
	if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
		name := normal(f[2])
		m.aliases = append(m.aliases, alias{line, name})
		m.providers[normal(f[1])] = append(m.providers[normal(f[1])], name)
	}
}

func (m *Modules) addSoft(line string) {
	f := strings.Fields(line)
	if len(f) < 2 || f[0] != "softdep" {
		return
	}
	m.softLines = append(m.softLines, line)
	for _, word := range f[2:] {
		if !strings.HasSuffix(word, ":") { // pre:, post:
			m.soft[normal(f[1])] = append(m.soft[normal(f[1])], normal(word))
		}
	}
}

func (m *Modules) addBuiltin(line string) {
	m.builtin[moduleName(line)] = true
	m.rawBuilt = append(m.rawBuilt, line+"\n"...)
}

// Closure gives the modules that the names stand for and everything that they
// need, soft dependencies included, in an order in which they can be loaded. A
// name is a module's, with - or _, or a pattern such as kernel/drivers/ata/* of
// paths below /lib/modules/KVER, without suffix. A name that nothing matches is
// an error, unless it is built into the kernel.
func (m *Modules) Closure(names []string) ([]string, error) {
	c := &moduleClosure{m: m, done: map[string]bool{}}
	for _, name := range names {
		matched, err := m.match(name)
		if err != nil {
			return nil, err
		}
		for _, module := range matched {
			if err := c.add(module, name); err != nil {
				return nil, err
			}
		}
	}
	return c.order, nil
}

func (m *Modules) match(name string) ([]string, error) {
	if !strings.Contains(name, "/") {
		if m.builtin[normal(name)] {
			return nil, nil
		}
		if _, ok := m.files[normal(name)]; !ok {
			return nil, fmt.Errorf("find the kernel module %s: no package has it", name)
		}
		return []string{normal(name)}, nil
	}
	var found []string
	for module, file := range m.files {
		ok, err := path.Match(name, trimKO(file))
		if err != nil {
			return nil, fmt.Errorf("find the kernel modules %s: %w", name, err)
		}
		if ok {
			found = append(found, module)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("find the kernel modules %s: no package has any", name)
	}
	slices.Sort(found)
	return found, nil
}

type moduleClosure struct {
	m     *Modules
	done  map[string]bool
	order []string
}

func (c *moduleClosure) add(name, by string) error {
	if c.done[name] || c.m.builtin[name] {
		return nil
	}
	if _, ok := c.m.files[name]; !ok {
		return fmt.Errorf("find the kernel module %s that %s needs: no package has it", name, by)
	}
	c.done[name] = true // before its needs: soft dependencies may go in circles
	for _, dep := range slices.Backward(c.m.deps[name]) {
		if err := c.add(dep, name); err != nil {
			return err
		}
	}
	for _, dep := range c.m.soft[name] {
		if err := c.addSoft(dep, name); err != nil {
			return err
		}
	}
	c.order = append(c.order, name)
	return nil
}

// addSoft adds what provides a soft dependency. Nobody has to: that is what
// soft means. Of several providers of an alias (crc32c: generic, intel) all are
// taken, as only the machine knows which works there; the portable ones come
// first, for those that follow may fail to load.
func (c *moduleClosure) addSoft(dep, by string) error {
	if _, ok := c.m.files[dep]; ok {
		return c.add(dep, by)
	}
	providers := slices.Clone(c.m.providers[dep])
	slices.SortFunc(providers, func(a, b string) int {
		if ga, gb := strings.HasSuffix(a, "_generic"), strings.HasSuffix(b, "_generic"); ga != gb {
			if ga {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, p := range slices.Compact(providers) {
		if err := c.add(p, by); err != nil {
			return err
		}
	}
	return nil
}

// File gives a module's path below /lib/modules/KVER.
func (m *Modules) File(name string) string { return m.files[name] }

// Index gives the files modules.dep, modules.alias, modules.softdep and
// modules.builtin for an image that holds the given modules, decompressed.
func (m *Modules) Index(modules []string) map[string][]byte {
	in := map[string]bool{}
	for _, name := range modules {
		in[name] = true
	}
	var dep, aliases, soft bytes.Buffer
	for _, name := range slices.Sorted(slices.Values(modules)) {
		fmt.Fprintf(&dep, "%s:", plainKO(m.files[name]))
		for _, d := range m.deps[name] {
			fmt.Fprintf(&dep, " %s", plainKO(m.files[d]))
		}
		dep.WriteByte('\n')
	}
	for _, a := range m.aliases {
		if in[a.module] {
			fmt.Fprintln(&aliases, a.line)
		}
	}
	for _, line := range m.softLines {
		if in[normal(strings.Fields(line)[1])] {
			fmt.Fprintln(&soft, line)
		}
	}
	return map[string][]byte{
		"modules.dep": dep.Bytes(), "modules.alias": aliases.Bytes(),
		"modules.softdep": soft.Bytes(), "modules.builtin": m.rawBuilt,
	}
}

func plainKO(file string) string { return strings.TrimSuffix(file, ".xz") }

func trimKO(file string) string { return strings.TrimSuffix(plainKO(file), ".ko") }

// moduleName gives the normal name of the module in a file.
func moduleName(file string) string { return normal(trimKO(path.Base(file))) }

// normal is a module's name as the kernel spells it.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }
