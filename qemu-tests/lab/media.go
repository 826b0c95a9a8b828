package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"casemate/vmhost/spec"
)

// MediaServer serves files over HTTP on the loopback: what a node fetches at boot.
type MediaServer struct {
	Port int

	server *http.Server
}

// ServeMedia serves the files of dir.
func ServeMedia(dir string) (*MediaServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", dir, err)
	}
	s := &MediaServer{
		Port:   l.Addr().(*net.TCPAddr).Port,
		server: &http.Server{Handler: http.FileServerFS(os.DirFS(dir))},
	}
	go s.server.Serve(l) // ends with ErrServerClosed in Close
	return s, nil
}

// Media is the entry of a node configuration for one of the files in dir, which
// the server serves.
func (s *MediaServer) Media(name, file string) (spec.Media, error) {
	f, err := os.Open(file)
	if err != nil {
		return spec.Media{}, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return spec.Media{}, err
	}
	return spec.Media{
		Name:   name,
		URL:    s.URL(filepath.Base(file)),
		SHA256: hex.EncodeToString(sum.Sum(nil)),
	}, nil
}

// URL is where a machine finds the file of that name.
func (s *MediaServer) URL(name string) string {
	return fmt.Sprintf("http://%s:%d/%s", Gateway, s.Port, name)
}

// Close stops the server.
func (s *MediaServer) Close() { s.server.Close() }
