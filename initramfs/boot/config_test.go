package boot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casemate/initramfs/boot/cmdline"
)

// impatient is a fetcher that does not make tests wait.
func impatient() *fetcher {
	f := newFetcher()
	f.attempts, f.delay = 3, time.Millisecond
	return f
}

// serve gives the address of a server with the files, and counts requests.
func serve(t *testing.T, files map[string]string) (url string, requests *int) {
	t.Helper()
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		text, ok := files[r.URL.Path]
		switch {
		case r.URL.Path == "/flaky" && n < 3:
			http.Error(w, "later", http.StatusServiceUnavailable)
		case !ok:
			http.NotFound(w, r)
		default:
			fmt.Fprint(w, text)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, &n
}

func TestConfigSources(t *testing.T) {
	url, _ := serve(t, map[string]string{"/node.yaml": "name: from-url\n", "/bad.yaml": "nome: typo\n", "/flaky": "name: flaky\n"})
	for _, tt := range []struct {
		name                     string
		fwCfg, cmdline, embedded string
		wantName, wantErr        string
	}{
		{"none", "", "", "", "casemate", ""},
		{"embedded", "", "", "name: embedded", "embedded", ""},
		{"URL before embedded", "", "casemate.config=" + url + "/node.yaml", "name: embedded", "from-url", ""},
		{"fw_cfg first", "name: fw", "casemate.config=" + url + "/node.yaml", "name: embedded", "fw", ""},
		{"a server that comes up late", "", "casemate.config=" + url + "/flaky", "", "flaky", ""},
		{"empty document", " ", "", "name: embedded", "casemate", ""},
		// What was meant to be the configuration is not replaced by another.
		{"bad fw_cfg", "nome: typo", "", "name: embedded", "", "fw_cfg"},
		{"bad URL document", "", "casemate.config=" + url + "/bad.yaml", "name: embedded", "", "nome"},
		{"missing URL document", "", "casemate.config=" + url + "/none", "name: embedded", "", "404"},
		{"URL without value", "", "casemate.config", "name: embedded", "", "casemate.config"},
		{"no HTTP", "", "casemate.config=file:///etc/passwd", "", "", "http or https"},
		{"invalid", "name: Not_A_Host", "", "", "", "name"},
		{"too large", "#" + strings.Repeat("x", maxConfig), "", "", "", "larger"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			file := func(name, text string) string {
				path := filepath.Join(dir, name)
				if text != "" {
					if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return path
			}
			sources := configSources(cmdline.Parse(tt.cmdline), impatient(), file("raw", tt.fwCfg), file("casemate.yaml", tt.embedded))
			doc, from, err := loadConfig(context.Background(), sources)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("loadConfig = %q from %s, %v; want an error with %q", doc.Name, from, err, tt.wantErr)
				}
				return
			}
			if err != nil || doc.Name != tt.wantName {
				t.Errorf("loadConfig = %q from %s, %v; want %q", doc.Name, from, err, tt.wantName)
			}
		})
	}
}

func TestFetchGivesUp(t *testing.T) {
	url, requests := serve(t, nil)
	f := impatient()
	if _, _, err := loadConfig(context.Background(), configSources(cmdline.Params{"casemate.config": url + "/none"}, f, "/nonexistent", "/nonexistent")); err == nil || *requests != 1 {
		t.Errorf("fetch of a missing file: %v after %d requests; want an error after 1", err, *requests)
	}
	// Nobody listens there.
	closed := httptest.NewServer(nil)
	closed.Close()
	start := time.Now()
	err := f.get(context.Background(), closed.URL, 1, nil)
	if err == nil || !strings.Contains(err.Error(), "3 attempts") || !strings.Contains(err.Error(), closed.URL) {
		t.Errorf("fetch from a closed port = %v after %v; want an error after 3 attempts that names the URL", err, time.Since(start))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.get(ctx, closed.URL, 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("fetch with an ended context = %v; want %v", err, context.Canceled)
	}
}

func TestFetchNoDowngrade(t *testing.T) {
	plain, requests := serve(t, map[string]string{"/x": "x"})
	secure := httptest.NewTLSServer(http.RedirectHandler(plain+"/x", http.StatusFound))
	defer secure.Close()
	f := impatient()
	f.attempts = 1
	f.client.Transport.(*http.Transport).TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	err := f.get(context.Background(), secure.URL, 1, nil)
	if err == nil || !strings.Contains(err.Error(), "redirected from https") || *requests != 0 {
		t.Errorf("fetch = %v, %d requests over http; want a refusal to leave https", err, *requests)
	}
}
