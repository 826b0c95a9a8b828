package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/spec"

	"sigs.k8s.io/yaml"
)

// Names in a PKI's folder. A client's pair is NAME.crt and NAME.key.
const (
	AuthorityName = "ca"
	NodeName      = "node"
	AdminName     = "admin"
	NodeDocument  = "casemate.yaml"
)

// file is one file to write.
type file struct {
	name string
	data []byte
	mode fs.FileMode
}

func (p Pair) files(name string) []file {
	return []file{{name + ".crt", p.Certificate, 0o644}, {name + ".key", p.Key, 0o600}}
}

// Init makes a PKI in the folder dir: ca, node and admin pairs, and a node
// document with the node's name and identity. It overwrites nothing, and leaves
// nothing behind when it fails.
func Init(dir string, now time.Time, node string, hosts []string) error {
	doc := spec.Node{Name: node}
	doc.SetDefaults()
	ca, err := NewAuthority(now)
	if err != nil {
		return err
	}
	server, err := ca.Node(now, doc.Name, hosts)
	if err != nil {
		return err
	}
	admin, err := ca.Client(now, AdminName, api.Admin)
	if err != nil {
		return err
	}
	doc.API = spec.API{CA: string(ca.Certificate), Certificate: string(server.Certificate), Key: string(server.Key)}
	if err := doc.Validate(); err != nil {
		return err
	}
	text, err := yaml.Marshal(doc)
	if err != nil {
		return err
	}
	text = append([]byte("# A casemate node's configuration. It has the node's private key.\n"), text...)
	// The document goes last: where it is, the rest is.
	return write(dir, slices.Concat(ca.files(AuthorityName), server.files(NodeName), admin.files(AdminName),
		[]file{{NodeDocument, text, 0o600}}))
}

// Issue makes a client's pair in the folder of a PKI that Init made.
func Issue(dir string, now time.Time, name string, role api.Role) error {
	if name == AuthorityName || name == NodeName {
		return fmt.Errorf("client name %q: taken by the %s's own files in %s", name, name, dir)
	}
	var pair Pair
	var err error
	if pair.Certificate, err = os.ReadFile(filepath.Join(dir, AuthorityName+".crt")); err != nil {
		return fmt.Errorf("%w: run `casemate pki init %s` first", err, dir)
	}
	if pair.Key, err = os.ReadFile(filepath.Join(dir, AuthorityName+".key")); err != nil {
		return err
	}
	ca, err := ParseAuthority(pair)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	client, err := ca.Client(now, name, role)
	if err != nil {
		return err
	}
	return write(dir, client.files(name))
}

// write makes new files in dir, or none.
func write(dir string, files []file) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, path := range made {
				_ = os.Remove(path)
			}
		}
	}()
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists and is not overwritten: move it away, or choose another folder or name", path)
		}
		if err != nil {
			return err
		}
		made = append(made, path)
		_, err = out.Write(f.data)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	return nil
}
