// Package contexts keeps the nodes that an operator knows: a small file, after
// kubectl's, that says where a node is and who one is there. It holds paths of
// keys and never keys.
package contexts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"casemate/vmhost/spec"

	"sigs.k8s.io/yaml"
)

const maxFile = 1 << 20 // bytes

// File is the document. The first of two contexts with one name would win, so
// Load refuses such a file.
type File struct {
	// Current names the context that commands use unless told otherwise.
	Current  string    `json:"current,omitempty"`
	Contexts []Context `json:"contexts,omitempty"`
}

// Context is one node and one identity there. Paths that are not absolute begin
// where the file is.
type Context struct {
	Name string `json:"name"`
	// Address is host or host:port.
	Address string `json:"address"`
	// ServerName is the name in the node's certificate, if it is not the host of
	// Address: a forwarded port on 127.0.0.1 is still the node.
	ServerName  string `json:"serverName,omitempty"`
	CA          string `json:"ca"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// Path gives the file's place: $CASEMATE_CONFIG, or casemate/config.yaml in the
// user's configuration directory.
func Path() (string, error) {
	if path := os.Getenv("CASEMATE_CONFIG"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("%w: set CASEMATE_CONFIG to a file", err)
	}
	return filepath.Join(dir, "casemate", "config.yaml"), nil
}

// Load reads the file. One that does not exist is an empty one.
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &File{}, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range f.Contexts {
		c := &f.Contexts[i]
		for _, p := range []*string{&c.CA, &c.Certificate, &c.Key} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(filepath.Dir(path), *p)
			}
		}
	}
	return f, nil
}

func parse(data []byte) (*File, error) {
	f := &File{}
	if err := spec.Unmarshal(data, maxFile, f); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for i, c := range f.Contexts {
		if err := c.validate(); err != nil {
			return nil, fmt.Errorf("contexts[%d]: %w", i, err)
		}
		if seen[c.Name] {
			return nil, fmt.Errorf("contexts[%d]: name %q is there twice", i, c.Name)
		}
		seen[c.Name] = true
	}
	return f, nil
}

// Save writes the file for its owner only, in one step.
func (f *File) Save(path string) error {
	data, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already if all went well
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// Add adds a context, or replaces the one of its name. The first one becomes
// the current one. Paths are made absolute.
func (f *File) Add(c Context) error {
	for _, p := range []*string{&c.CA, &c.Certificate, &c.Key} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if err := c.validate(); err != nil {
		return err
	}
	if _, err := c.tlsConfig(); err != nil {
		return err
	}
	if i := f.index(c.Name); i >= 0 {
		f.Contexts[i] = c
	} else {
		f.Contexts = append(f.Contexts, c)
	}
	if f.Current == "" {
		f.Current = c.Name
	}
	return nil
}

// Remove forgets a context.
func (f *File) Remove(name string) error {
	i := f.index(name)
	if i < 0 {
		return unknown(name)
	}
	f.Contexts = slices.Delete(f.Contexts, i, i+1)
	if f.Current == name {
		f.Current = ""
	}
	return nil
}

// Use makes a context the current one.
func (f *File) Use(name string) error {
	if f.index(name) < 0 {
		return unknown(name)
	}
	f.Current = name
	return nil
}

// Get gives the context of that name, or the current one for "".
func (f *File) Get(name string) (Context, error) {
	switch {
	case name == "" && len(f.Contexts) == 0:
		return Context{}, errors.New("no context: run `casemate context add NAME --address HOST --pki DIR`")
	case name == "" && f.Current == "":
		return Context{}, errors.New("no current context: run `casemate context use NAME`, or give --context NAME")
	case name == "":
		name = f.Current
	}
	i := f.index(name)
	if i < 0 {
		return Context{}, unknown(name)
	}
	return f.Contexts[i], nil
}

func (f *File) index(name string) int {
	return slices.IndexFunc(f.Contexts, func(c Context) bool { return c.Name == name })
}

func unknown(name string) error {
	return fmt.Errorf("no context %q: `casemate context ls` lists those there are", name)
}

func (c Context) validate() error {
	if !contextName.MatchString(c.Name) {
		return fmt.Errorf("name %q: want 1 to 63 letters, digits and ._@-", c.Name)
	}
	if _, _, err := c.split(); err != nil {
		return fmt.Errorf("context %s: %w", c.Name, err)
	}
	for field, value := range map[string]string{"ca": c.CA, "certificate": c.Certificate, "key": c.Key} {
		if value == "" {
			return fmt.Errorf("context %s: no %s", c.Name, field)
		}
	}
	return nil
}
