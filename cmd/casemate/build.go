package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"casemate/image"
	"casemate/image/debian"
	"casemate/vmhost/spec"

	"github.com/spf13/cobra"
)

func init() { register(newBuildCommand) }

func newBuildCommand() *cobra.Command {
	var out, config, extra, suite string
	var update bool
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build a node image",
		Long: `Build a node image from signed Debian packages and casemate's own source.

Run it in a clone of casemate, on Debian 12 or 13 with Go and apt, as any user:
nothing is installed and nothing needs root. Packages come from the mirror that
the host's apt uses, and their signatures are checked. They are kept in
$CASEMATE_CACHE (default: casemate in your cache directory); with a filled
cache a build needs no network. The package lists are refreshed once a day.

It writes, below --out:
  pxe/vmlinuz, pxe/initramfs.img, pxe/boot.ipxe   for network boot
  policy/policy.33, policy/file_contexts          the SELinux policy in the image
  manifest.json                                   every package and file in it
  bin/casemate                                    this tool
  SHA256SUMS                                      written last: with it, the rest is whole

The same packages and the same source give the same bytes.`,
		Example: `  casemate build
  casemate build --out /srv/tftp/casemate --config node.yaml
  casemate build --append "casemate.config=http://192.0.2.1/node.yaml"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			progress := image.NewProgress(os.Stderr)
			options := image.Options{
				Out: out, Append: extra,
				Fetcher: &debian.Fetcher{Suite: suite, Update: update, Report: progress.Report, Note: progress.Note},
			}
			if config != "" {
				var err error
				if options.Config, err = readNodeConfig(config); err != nil {
					return err
				}
			}
			result, err := image.Build(cmd.Context(), options)
			if err != nil {
				return err
			}
			printResult(cmd.OutOrStdout(), result)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&out, "out", "", "output `directory` (default: out in the clone)")
	flags.StringVar(&config, "config", "", "embed this node configuration `file`; its private key, if any, is then readable in the image")
	flags.StringVar(&extra, "append", "", "more kernel `arguments` for boot.ipxe")
	flags.StringVar(&suite, "suite", "trixie", "Debian `suite` of the packages")
	flags.BoolVar(&update, "update", false, "refresh the package lists now")
	return cmd
}

// readNodeConfig reads a node configuration and refuses one that the node would.
func readNodeConfig(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the node configuration: %w", err)
	}
	node, err := spec.ParseNode(data)
	if err == nil {
		node.SetDefaults()
		err = node.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("read the node configuration %s: %w", name, err)
	}
	return data, nil
}

func printResult(w io.Writer, r *image.Result) {
	var boot int64
	for _, a := range r.Manifest.Artefacts {
		fmt.Fprintf(w, "%12d  %s\n", a.Size, filepath.Join(r.Out, a.Path))
		if a.Path == "pxe/vmlinuz" || a.Path == "pxe/initramfs.img" {
			boot += a.Size
		}
	}
	fmt.Fprintf(w, "%12d  bytes of vmlinuz and initramfs.img; kernel %s, policy %s\n", boot, r.Manifest.Kernel.Version, r.Manifest.Policy.Digest)
}
