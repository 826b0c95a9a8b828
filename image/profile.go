// Package image makes what an operator takes away: it fetches packages, builds
// casemate's own programs, compiles the policy, has initramfs pack what the
// profile names, and writes the result with a manifest to the output directory.
// It does not know how files get into a root, or what the node does with them.
package image

import (
	_ "embed"
	"fmt"

	"casemate/image/debian"

	"sigs.k8s.io/yaml"
)

// Profile says what an image is made of; see profile/default.yaml.
type Profile struct {
	Name     string       `json:"name"`
	Sets     []debian.Set `json:"sets"`
	Programs []string     `json:"programs"`
	Plugins  []string     `json:"plugins"`
	Files    []string     `json:"files"`
	Modules  struct {
		Stage0 []string `json:"stage0"`
		Node   []string `json:"node"`
	} `json:"modules"`
	Directories []string `json:"directories"`
	Links       []Link   `json:"links"`
	CommandLine string   `json:"commandLine"`
	Limit       int64    `json:"limit"`
}

// Link is a symbolic link of the root.
type Link struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

//go:embed profile/default.yaml
var defaultProfile []byte

// DefaultProfile is the profile that images are built from.
func DefaultProfile() (*Profile, error) { return parseProfile(defaultProfile) }

func parseProfile(text []byte) (*Profile, error) {
	p := &Profile{}
	if err := yaml.UnmarshalStrict(text, p); err != nil {
		return nil, fmt.Errorf("read the profile: %w", err)
	}
	return p, nil
}

// Set gives one of the profile's package sets by name.
func (p *Profile) Set(name string) (debian.Set, error) {
	for _, s := range p.Sets {
		if s.Name == name {
			return s, nil
		}
	}
	return debian.Set{}, fmt.Errorf("the profile %s has no package set %q", p.Name, name)
}
