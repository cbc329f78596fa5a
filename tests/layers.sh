#!/usr/bin/env bash
# Dependencies run one way: base <- schema <- pipeline <- producers, consumers <- cli.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A may=(
    [base]="base"
    [schema]="base schema"
    [pipeline]="base schema pipeline"
    [producers]="base schema pipeline producers"
    [consumers]="base schema pipeline consumers"
)
bad=0
for folder in "${!may[@]}"; do
    while IFS=: read -r file line include; do
        target=${include#*\"}
        target=${target%%/*}
        case " ${may[$folder]} lockstep " in
            *" $target "*) ;;
            *)
                echo "$file:$line: $folder may not include $target: $include"
                bad=1
                ;;
        esac
    done < <(grep -rnE '^#include "' "$folder" --include='*.[ch]' || true)
done
exit $bad
