package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casemate/vmhost/spec"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestFetchMedia(t *testing.T) {
	const content = "the tools"
	url, _ := serve(t, map[string]string{"/tools.iso": content, "/flaky": content})
	for _, tt := range []struct {
		name    string
		media   spec.Media
		wantErr []string
	}{
		{"good", spec.Media{Name: "tools.iso", URL: url + "/tools.iso", SHA256: digest(content)}, nil},
		{"digest in capitals", spec.Media{Name: "tools.iso", URL: url + "/tools.iso", SHA256: strings.ToUpper(digest(content))}, nil},
		{"second attempt", spec.Media{Name: "tools.iso", URL: url + "/flaky", SHA256: digest(content)}, nil},
		{"wrong digest", spec.Media{Name: "tools.iso", URL: url + "/tools.iso", SHA256: digest("other")},
			[]string{"tools.iso", digest(content), digest("other")}},
		{"missing", spec.Media{Name: "tools.iso", URL: url + "/none", SHA256: digest(content)}, []string{"tools.iso", "404"}},
		{"elsewhere", spec.Media{Name: "../tools.iso", URL: url + "/tools.iso", SHA256: digest(content)}, []string{"not a file name"}},
		{"hidden", spec.Media{Name: ".fetch-1", URL: url + "/tools.iso", SHA256: digest(content)}, []string{"not a file name"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			labelled := 0
			err := fetchMedia(context.Background(), impatient(), []spec.Media{tt.media}, dir, func(string) error { labelled++; return nil })
			got, readErr := os.ReadFile(filepath.Join(dir, "tools.iso"))
			if tt.wantErr == nil {
				if err != nil || string(got) != content || labelled != 1 {
					t.Errorf("fetchMedia = %v, file %q (%v), labelled %d times; want the file, labelled once", err, got, readErr, labelled)
				}
				return
			}
			for _, want := range tt.wantErr {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("fetchMedia = %v; want an error with %q", err, want)
				}
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("fetchMedia left %v; want nothing", left)
			}
		})
	}
}

// A file that can not be labelled must not be there under its name.
func TestFetchMediaUnlabelled(t *testing.T) {
	url, _ := serve(t, map[string]string{"/a": "a", "/b": "b"})
	dir := t.TempDir()
	broken := errors.New("label as x: permission denied")
	err := fetchMedia(context.Background(), impatient(), []spec.Media{
		{Name: "a", URL: url + "/a", SHA256: digest("a")}, {Name: "b", URL: url + "/b", SHA256: digest("b")},
	}, dir, func(string) error { return broken })
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "media a") || !strings.Contains(err.Error(), "media b") {
		t.Errorf("fetchMedia = %v; want %v for both", err, broken)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("fetchMedia left %v; want nothing", left)
	}
}
