package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// output is how a command shows its result: for people or for programs. What
// programs read is the API's own form.
type output struct {
	format  string
	formats []string
}

// flags adds -o to cmd; the first format is the default.
func (o *output) flags(cmd *cobra.Command, formats ...string) {
	o.formats = formats
	cmd.Flags().StringVarP(&o.format, "output", "o", formats[0], "`format`: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses a format before anything is done.
func (o *output) check() error {
	if !slices.Contains(o.formats, o.format) {
		return fmt.Errorf("--output %q is not one of %s", o.format, strings.Join(o.formats, ", "))
	}
	return nil
}

// print writes v as JSON or YAML, or has table write it.
func (o *output) print(w io.Writer, v any, table func(w io.Writer)) error {
	switch o.format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		text, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(tab)
	return tab.Flush()
}

// row writes the cells of one line of a table. An empty cell gets a dash, so
// that columns can be told apart by blanks.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		if texts[i] = fmt.Sprint(c); texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(texts, "\t"))
}
